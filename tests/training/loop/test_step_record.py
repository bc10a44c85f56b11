"""What a training reports of its steps: means over those since the last report, and the first that is not finite."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.errors import DivergedError
from training.loop.record import Record


def diverged(step: int, terms: torch.Tensor) -> DivergedError:
    return DivergedError(f"step {step}: {terms.tolist()}")


def record(every: int = 4) -> Record:
    return Record(every, torch.device("cpu"), diverged)


def step(of: Record, *passes: tuple[float, float], alpha: float = 0.5, norm: float = 1.0, tokens: int = 10) -> None:
    of.start_step(alpha, tokens)
    for cross_entropy, penalty in passes:
        of.add(torch.tensor(cross_entropy), torch.tensor(penalty))
    of.end_step(norm)


def metrics(found: Any, *names: str) -> list[float]:
    return [found.scores.metrics[f"train/{name}"] for name in names]


def test_a_report_is_the_mean_over_its_steps_and_the_sum_over_their_passes() -> None:
    made = record()
    step(made, (1.0, 0.25), (1.0, 0.25), alpha=1.0, norm=3.0)
    step(made, (3.0, 1.0), (1.0, 0.5), alpha=0.0, norm=1.0)
    found = made.close(learning_rate=0.125)
    assert found.step == 2
    assert not found.rung
    assert metrics(found, "loss", "penalty", "gradient_norm", "alpha", "learning_rate") == [3.0, 1.0, 2.0, 0.0, 0.125]
    assert metrics(found, "penalty_ratio") == [pytest.approx(0.5 * 1.0 / 2 / 3.0)], "each penalty by its own alpha"


def test_the_next_report_begins_anew() -> None:
    made = record(every=2)
    step(made, (9.0, 9.0))
    step(made, (9.0, 9.0))
    made.close(0.1)
    step(made, (1.0, 2.0))
    found = made.close(0.1)
    assert (found.step, metrics(found, "loss", "penalty")) == (3, [1.0, 2.0])


@pytest.mark.parametrize(("bad", "named"), [(0, 3), (1, 4)])
def test_the_first_step_that_is_not_finite_is_named(bad: int, named: int) -> None:
    made = record()
    for _ in range(3):
        step(made, (1.0, 0.0))
    made.close(0.1)
    for index in range(3):
        step(made, (float("nan"), 0.0) if index >= bad else (1.0, 0.0))
    with pytest.raises(DivergedError, match=f"step {named}: "):
        made.check()


@pytest.mark.parametrize("term", ["penalty", "norm"])
def test_penalty_and_gradient_must_be_finite_too(term: str) -> None:
    made = record()
    step(made, (1.0, float("inf") if term == "penalty" else 0.0), norm=float("inf") if term == "norm" else 1.0)
    with pytest.raises(DivergedError):
        made.check()


def test_measuring_is_not_training_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("training.loop.record.time", SimpleNamespace(perf_counter=lambda: now[0]))
    made = record()
    step(made, (1.0, 0.0), tokens=1000)
    now[0] += 2.0
    with made.paused():
        now[0] += 50.0
    now[0] += 3.0
    assert metrics(made.close(0.1), "seconds", "tokens_per_second") == [5.0, 200.0]
    step(made, (1.0, 0.0), tokens=8)
    now[0] += 4.0
    assert metrics(made.close(0.1), "seconds", "tokens_per_second") == [4.0, 2.0], "a report begins a new one"


def test_a_restarted_training_reports_what_an_uninterrupted_one_does() -> None:
    whole, before = record(), record()
    for made in (whole, before):
        step(made, (1.0, 0.5), alpha=0.25, tokens=7)
    after = record()
    after.restore(before.state())
    for made in (whole, after):
        step(made, (2.0, 1.5), alpha=0.75, tokens=9)
    names = ("loss", "penalty", "penalty_ratio", "gradient_norm", "alpha")
    one, other = whole.close(0.1), after.close(0.1)
    assert (one.step, metrics(one, *names)) == (other.step, metrics(other, *names))
