"""Whose trained weights stay on disk."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from front_samples import OBJECTIVES, RULES, record
from small_sweeps import small_sweep

from orchestrator.driver.checkpoints import Keeper, superfluous
from orchestrator.front.document import build_front
from orchestrator.record.score_fields import SELECT, score_fields
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import Status, TrialRecord, at_scale
from sweeps.goals.objectives import Objective
from sweeps.schema.keep import KeepConfig
from sweeps.schema.seeds import SeedsConfig
from sweeps.schema.spec import SweepSpec
from training.evaluation.scores import Scores

SPEC = SweepSpec.model_validate(small_sweep())


def trial(
    name: str,
    attack: float,
    accuracy: float,
    over_refusal: float = 0.02,
    *,
    report: tuple[float, float, float] | None = None,
    status: Status = Status.FINISHED,
    prompts: int = 100,
    **changes: Any,
) -> TrialRecord:
    """A trial of the model ``small``; both halves measured the same where ``report`` does not say otherwise."""
    select = record(name, attack, accuracy, over_refusal, prompts=prompts, status=status, model="small")
    shown = record(name, *(report or (attack, accuracy, over_refusal)), prompts=prompts, status=status, model="small")
    return replace(shown, select=select.select, **changes)


def replicate(of: str, number: int, *values: float, **changes: Any) -> TrialRecord:
    """One more seed of the trial ``of``."""
    return trial(f"{of}-r{number}", *values, kind="replicate", replicate_of=of, seed=number, **changes)


def gone(trials: list[TrialRecord], keep: str = "front", **options: Any) -> set[str]:
    config = KeepConfig.model_validate({"checkpoints": keep})
    return set(superfluous(trials, OBJECTIVES, RULES, config, **options))


TRIALS = [
    trial("safe", 0.1, 0.5),
    trial("able", 0.4, 0.9),
    trial("behind", 0.9, 0.1),
    trial("pruned", 0.0, 0.0, status=Status.PRUNED),
    trial("stopped", 0.0, 0.0, status=Status.STOPPED),
    trial("ift", 0.0, 1.0, kind="reference"),
]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("front", {"behind", "pruned", "ift"}),
        ("all", {"pruned"}),
        ("none", {"safe", "able", "behind", "pruned", "ift"}),
    ],
)
def test_what_nobody_needs_goes_and_what_was_stopped_stays(keep: str, expected: set[str]) -> None:
    assert gone(TRIALS, keep) == expected


def test_a_member_of_the_front_does_not_go_for_one_that_breaks_a_rule() -> None:
    feasible, infeasible = trial("feasible", 0.30, 0.84, 0.02), trial("infeasible", 0.10, 0.85, 0.60)
    assert gone([feasible, infeasible]) == {"infeasible"}


def test_a_member_of_the_pooled_front_does_not_go_for_one_that_was_ahead_on_one_seed() -> None:
    steady, ahead = trial("steady", 0.30, 0.80, prompts=1000), trial("ahead", 0.05, 0.85, prompts=1000)
    pooled = [replicate("ahead", n, 0.6, 0.5, prompts=1000) for n in (1, 2)]
    assert "steady" not in gone([steady, ahead, *pooled])  # what varies as much as the other may yet belong there too
    document = build_front(OBJECTIVES, RULES, [steady, ahead, *pooled])
    assert document.models["small"].front == ("steady",)


def test_what_may_belong_to_the_front_stays() -> None:
    trials = [trial(f"t{n}", 0.30 + 0.02 * n, 0.80 - 0.02 * n) for n in range(15)]
    removed = gone(trials)
    model = build_front(OBJECTIVES, RULES, trials).models["small"]
    near = {one.id for one in model.trials if (one.p_on_front or 0.0) > 0.05}
    assert model.front == ("t0",)
    assert len(near) > 3
    assert not removed & near
    assert "t14" in removed


def test_a_trial_on_the_front_of_either_half_stays() -> None:
    select = trial("select", 0.05, 0.6, report=(0.9, 0.1, 0.02))
    report = trial("report", 0.9, 0.1, report=(0.05, 0.6, 0.02))
    assert not gone([*TRIALS, select, report]) & {"select", "report"}


def test_a_trial_whose_replicates_are_still_to_come_stays_and_those_of_a_kept_trial_with_it() -> None:
    best = [trial("best", 0.1, 0.9), replicate("best", 1, 0.1, 0.9)]
    worse = [trial("worse", 0.8, 0.2), replicate("worse", 1, 0.8, 0.2)]
    running = replicate("worse", 2, 0.0, 0.0, status=Status.RUNNING)
    assert gone([*best, *worse, running]) == set()
    stopped = replicate("worse", 2, 0.0, 0.0, status=Status.STOPPED)
    assert gone([*best, *worse, stopped]) == set()
    ended = replicate("worse", 2, 0.0, 0.0, status=Status.FAILED)
    assert gone([*best, *worse, ended]) == {"worse", "worse-r1", "worse-r2"}


def test_where_nothing_keeps_the_rules_what_would_be_the_front_without_them_stays() -> None:
    trials = [trial("near", 0.1, 0.8, 0.5), trial("behind", 0.9, 0.1, 0.9)]
    assert gone(trials) == {"behind"}


def test_where_no_error_is_known_the_fronts_stay_and_everything_while_replicates_may_come() -> None:
    def loss(name: str, value: float, attack: float) -> TrialRecord:
        scores = Scores({"utility/loss": value, "safety/attack_success_rate": attack})
        return TrialRecord(name, "small", "trial", name, Status.FINISHED, report=scores, select=scores)

    trials = [loss("a", 0.5, 0.1), loss("b", 0.6, 0.2)]
    objectives = [Objective(metric="utility/loss", goal="minimize", worst=3.0), OBJECTIVES[0]]
    assert superfluous(trials, objectives, [], KeepConfig()) == ["b"]
    assert superfluous(trials, objectives, [], KeepConfig(), replicates=True) == []


def test_a_trial_stays_for_its_scaled_model_on_the_front() -> None:
    behind, safe, able = trial("behind", 0.9, 0.1, prompts=10_000), trial("safe", 0.1, 0.5), trial("able", 0.4, 0.9)
    half = trial("there", 0.01, 0.6, prompts=10_000)
    member = at_scale(behind, 0.5, Scores(), half.report, half.select, 10)
    assert gone([safe, able, behind]) == {"behind"}
    assert gone([safe, able, behind, member]) == set()
    assert gone([safe, able, behind, at_scale(behind, 0.5, Scores(), behind.report, behind.select, 10)]) == {
        "behind",
        "behind@0.5",
    }


def removal_from(folder: Path) -> Callable[[str], None]:
    """What a keeper does to a sweep in a folder."""
    return lambda trial: shutil.rmtree(folder / trial, ignore_errors=True)


class NoisySweep:
    """A keeper that sees one trial end after the other; prompts and training seeds both bring luck."""

    def __init__(self, folder: Path, luck: random.Random) -> None:
        self.folder, self.luck = folder, luck
        self.ended: list[TrialRecord] = []
        spec = SweepSpec.model_validate(small_sweep(seeds={"replicates_on_front": 3}, feasible=list(map(str, RULES))))
        self.state = SweepState()
        self.keeper = Keeper(removal_from(folder), spec, self.state)

    def run(self, name: str, rates: tuple[float, float], of: str | None = None) -> None:
        (self.folder / name).mkdir(parents=True)
        seed = tuple(min(1.0, max(0.0, rate + self.luck.gauss(0, 0.03))) for rate in rates)
        select, report = ([sum(self.luck.random() < r for _ in range(100)) / 100 for r in seed] for _ in range(2))
        changes = {"kind": "replicate" if of else "trial", "replicate_of": of}
        one = trial(name, *select, report=(*report, 0.02), **changes)
        started = {"id": name, "model": "small", "label": name, "params": {}, "trial": None, **changes}
        measured = {**score_fields(one.report), **score_fields(one.select, SELECT)}
        end = {"event": "trial_ended", "time": 2.0, "id": name, "status": "FINISHED", "error": None, **measured}
        for event in ({"event": "trial_started", "time": 1.0, **started}, end):
            self.state.take(event)
            self.keeper.on_event(event)
        self.ended.append(one)

    @property
    def there(self) -> set[str]:
        """Whose checkpoints are kept."""
        return {path.name for path in self.folder.iterdir()}

    @property
    def near(self) -> dict[str, int]:
        """Trials that are on the front or near it, and under how many seeds they were measured."""
        trials = build_front(OBJECTIVES, RULES, self.ended).models["small"].trials
        return {t.id: t.replicates for t in trials if t.on_front or (t.p_on_front or 0.0) > 0.05}


def test_nothing_near_the_final_front_was_removed_on_the_way(tmp_path: Path) -> None:
    searched = kept = 0
    for number in range(6):
        luck = random.Random(number)
        sweep = NoisySweep(tmp_path / str(number), luck)
        quality = {f"t{n}": (luck.uniform(0.1, 0.6), luck.uniform(0.5, 0.9)) for n in range(24)}
        for name, rates in quality.items():
            sweep.run(name, rates)
        for _ in range(2):
            for name, seeds in sweep.near.items():
                if seeds < 3:
                    sweep.run(f"{name}-r{seeds}", quality[name], name)
        assert set(sweep.near) <= sweep.there
        before = len(sweep.there)
        sweep.keeper.settle()
        assert set(sweep.near) <= sweep.there
        searched, kept = searched + len(quality), kept + len(sweep.there & set(quality))
        assert len(sweep.there) <= before, "without replicates to come, no more may be wanted"
    assert kept < 0.6 * searched


def end_first_and_second(folder: Path, spec: SweepSpec) -> Iterator[Keeper]:
    """A keeper of two trials, before each of them ends and after both; the second dominates the first."""
    state = SweepState()
    keeper = Keeper(removal_from(folder), spec, state)
    for name in ("first", "second"):
        (folder / name).mkdir()
    for name, attack in (("first", 0.5), ("second", 0.1)):
        yield keeper
        started = {"id": name, "model": "small", "kind": "trial", "label": name, "params": {}, "trial": None}
        metrics = {"safety/attack_success_rate": attack, "utility/accuracy": 0.5}
        ended = {"id": name, "status": "FINISHED", "metrics": metrics, "counts": {}, "select_metrics": metrics}
        for event in (
            {"event": "trial_started", "time": 1.0, **started},
            {"event": "trial_ended", "time": 2.0, "error": None, **ended},
        ):
            state.take(event)
            keeper.on_event(event)
    yield keeper


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_dominated_trials_folder_is_removed_once_it_is_dominated(tmp_path: Path) -> None:
    kept = [names(tmp_path) for _ in end_first_and_second(tmp_path, SPEC)]
    assert kept == [{"first", "second"}, {"first", "second"}, {"second"}]


def test_what_only_doubt_kept_goes_once_no_replicate_is_to_come(tmp_path: Path) -> None:
    """Where no error is known, another seed could bring any trial to the front, until there will be no other seed."""
    spec = SPEC.model_copy(update={"seeds": SeedsConfig(replicates_on_front=2)})
    *_, keeper = end_first_and_second(tmp_path, spec)
    assert names(tmp_path) == {"first", "second"}
    keeper.settle()
    assert names(tmp_path) == {"second"}


def test_fork_points_go_once_no_fork_can_come_any_more() -> None:
    state, gone = SweepState(), []
    spec = SweepSpec.model_validate(small_sweep(trials=3))
    keeper = Keeper(lambda _trial: None, spec, state, gone.append)

    def hear(event: str, **fields: Any) -> None:
        told = {"event": event, "time": 1.0, **fields}
        state.take(told)
        keeper.on_event(told)

    def start(name: str, **fields: Any) -> None:
        about = {"model": "small", "kind": "trial", "label": name, "params": {}, "trial": {"seed": 0}}
        hear("trial_started", id=name, **about, **fields)

    def end(name: str) -> None:
        hear("trial_ended", id=name, status="PRUNED", metrics={}, counts={})

    start("first")
    start("second", forked_from={"trial": "first", "step": 4})
    end("first")
    assert gone == []  # it was pruned, and others may still begin from it
    start("third", forked_from={"trial": "first", "step": 4})
    end("third")
    assert gone == []  # the second may lose its slot
    end("second")
    assert gone == ["first", "second", "third"]
    keeper.settle()
    assert gone[3:] == ["first", "second", "third"]  # what ran on meanwhile wrote more
