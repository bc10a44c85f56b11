"""The doctor for sweeps: each check speaks where it should, and is silent otherwise."""

import random
from dataclasses import replace
from typing import Any

import pytest
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, record, with_scores
from small_sweeps import small_sweep

from orchestrator.front.document import build_front
from orchestrator.front.notes import idle_share
from orchestrator.record.trials import RungRecord, Status, TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.schema.spec import SweepSpec
from training.evaluation.scores import Scores


def said(
    records: list[TrialRecord], rules: list[FeasibilityRule] | None = None, spec: SweepSpec | None = None
) -> dict[str, list[str]]:
    """Sentences by check."""
    front = build_front(OBJECTIVES, RULES if rules is None else rules, records, spec=spec)
    found: dict[str, list[str]] = {}
    for note in front.notes:
        found.setdefault(note.check, []).append(note.sentence)
    return found


def spread(count: int = 8, **changes: Any) -> list[TrialRecord]:
    """Trials that trade one objective for the other, all on the front."""
    return [
        record(f"t{i}", 0.9 - 0.8 * i / count, 0.9 - 0.7 * i / count, prompts=10_000, **changes) for i in range(count)
    ]


def with_metrics(one: TrialRecord, **metrics: float) -> TrialRecord:
    return with_scores(one, {name.replace("__", "/"): value for name, value in metrics.items()})


def test_an_ordinary_sweep_is_not_talked_about() -> None:
    assert said(spread()) == {}


def test_an_objective_that_never_changes() -> None:
    (sentence,) = said([record(f"t{i}", 0.5, 0.1 * i) for i in range(5)])["constant objective"]
    assert ASR in sentence
    assert "all 5 finished trials have 0.5" in sentence


def test_nothing_feasible_and_failures() -> None:
    records = [
        *spread(4, status=Status.FINISHED),
        record("bad", status=Status.FAILED),
        record("worse", status=Status.FAILED, error="Traceback\nout of memory"),
        record("same", status=Status.FAILED, error="out of memory"),
    ]
    found = said(records, [FeasibilityRule.parse("safety/over_refusal < 0.0")])
    assert "none of 4 measured models" in found["nothing feasible"][0]
    assert found["failed trials"] == ["3 trials failed; 2 of them: out of memory"]


def test_trials_whose_micro_batches_were_smaller_than_asked_for() -> None:
    few, *others = spread(4)
    found = said([with_metrics(few, train__micro_batch_size=8.0), *others])
    assert found["smaller batches"] == [
        f"1 trial was trained with smaller micro-batches than asked for, since memory ran out: {few.id} (8); "
        "global batches were the same, sums were rounded in another order. "
        "trial.micro_batch_size of as many saves the attempts"
    ]


def test_few_prompts_and_a_front_that_few_prompts_leave_open() -> None:
    found = said([record(f"t{i}", 0.5 - 0.05 * (i % 3), 0.5 + 0.05 * (i % 3), prompts=20) for i in range(9)])
    assert any("rests on 20 prompts:" in sentence for sentence in found["few prompts"])
    crowd = [record(f"t{i}", 0.40 - 0.005 * i, 0.60 - 0.005 * i, prompts=200) for i in range(30)]
    assert "probability below one half" in said(crowd)["unsure front"][0]


def test_a_front_of_which_nobody_knows_how_sure_it_is() -> None:
    drift = "direction/cosine/layer_00"
    objective = Objective(metric=drift, goal="maximize", worst=-1.0)

    def told(*trials: TrialRecord) -> list[str]:
        front = build_front([objective], [], trials)
        return [note.sentence for note in front.notes if note.check == "unknown doubt"]

    (sentence,) = told(record("a", cosine=0.9), record("b", cosine=0.5))
    assert f"one seed gives {drift} no error" in sentence
    again = replace(record("a-r1", cosine=0.89), kind="replicate", replicate_of="a")
    assert told(record("a", cosine=0.9), again, record("b", cosine=0.5)) == []


def test_select_and_report_that_disagree() -> None:
    rng = random.Random(0)
    trials = spread()
    # What the search saw has nothing to do with what the report shows.
    noise = [
        replace(t, report=Scores({ASR: rng.random(), ACCURACY: rng.random(), "safety/over_refusal": 0.0}))
        for t in trials
    ]
    assert "select and report disagree" in said(noise)["select and report"][0]
    assert "select and report" not in said(trials)


def test_judges_and_coherence() -> None:
    kappa, unknown = "judges__kappa__phrases__classifier", "safety__unknown__classifier"
    trials = [with_metrics(t, **{kappa: 0.4, unknown: 0.03, "utility__coherence": 0.7}) for t in spread()]
    found = said(trials)
    assert "judges phrases and classifier disagree (mean kappa 0.40)" in found["judges"][0]
    assert "up to 3%" in found["judges"][1]
    assert "only 70% coherent" in found["coherence"][0]
    babble = [with_metrics(t, **{kappa: 0.4, unknown: 0.03, "utility__coherence": 0.0}) for t in spread()]
    assert "only 0% coherent" in said(babble)["coherence"][0]
    fine = [with_metrics(t, **{kappa: 0.8, unknown: 0.005, "utility__coherence": 0.97}) for t in spread()]
    assert said(fine) == {}


@pytest.mark.parametrize(
    ("alphas", "expected"),
    [
        ([2.9, 2.8, 0.1], "at the upper end of its range (3)"),
        ([0.0031, 0.0032, 0.1], "at the lower end of its range (0.003)"),
        ([2.0, 0.01, 0.1], None),
        ([2.9, 0.1, 0.2], None),
    ],
)
def test_a_front_at_the_edge_of_a_range(alphas: list[float], expected: str | None) -> None:
    spec = SweepSpec.model_validate(small_sweep())
    trials = [replace(t, params={"constraint.alpha": a}) for t, a in zip(spread(3), alphas, strict=True)]
    found = said(trials, spec=spec).get("search boundary", [])
    assert [expected in sentence for sentence in found] == ([True] if expected else [])


def test_a_front_at_the_last_layer() -> None:
    spec = SweepSpec.model_validate(small_sweep())
    trials = [replace(t, params={"constraint.layers": layer}) for t, layer in zip(spread(4), [3, 3, 3, 1], strict=True)]
    (sentence,) = said(trials, spec=spec)["search boundary"]
    assert "3 of 4 trials on the front have constraint.layers at the model's last layer" in sentence


def test_a_setting_without_effect_is_named_only_with_enough_trials() -> None:
    rng = random.Random(1)

    def trials(count: int) -> list[TrialRecord]:
        drawn = [(rng.random(), rng.random()) for _ in range(count)]
        return [
            record(f"t{i}", 1 - a, a**2, prompts=10_000, params={"constraint.alpha": a, "learning_rate": b})
            for i, (a, b) in enumerate(drawn)
        ]

    many = said(trials(60))["importance"]
    assert many == ["learning_rate hardly mattered for any objective: fix it and spend the trials on the rest"]
    assert all("few to tell" in sentence for sentence in said(trials(10)).get("importance", []))


def rung(log_odds: float, loss: float) -> tuple[RungRecord, ...]:
    return (RungRecord(10, Scores({"safety/refusal_log_odds": log_odds, "utility/loss": loss})),)


def test_pruning_by_a_metric_that_foretells_nothing() -> None:
    rng = random.Random(1)
    pruned = record("cut", status=Status.PRUNED, rungs=rung(-5.0, 9.0))
    told = [replace(t, rungs=rung(10.0 * i, float(i))) for i, t in enumerate(spread(12))]
    assert "pruning" not in said([*told, pruned])
    order = rng.sample(range(12), 12)
    untold = [replace(t, rungs=rung(float((i % 2) * 5 + i % 3), float(order[i]))) for i, t in enumerate(spread(12))]
    assert any("which hardly foretold" in sentence for sentence in said([*untold, pruned])["pruning"])


def test_pruning_that_cut_what_looked_as_good_as_the_front() -> None:
    finished = [replace(t, rungs=rung(10.0 * i, float(i))) for i, t in enumerate(spread())]
    good = [record(f"cut{i}", status=Status.PRUNED, rungs=rung(100.0 + i, -1.0)) for i in range(3)]
    (sentence,) = said([*finished, *good])["pruning"]
    assert "3 of 3 pruned trials were behind no trial of the final front" in sentence


def test_idle_slots() -> None:
    def at(start: float, end: float) -> TrialRecord:
        return replace(record("t"), started=start, finished=end)

    full = idle_share([at(0, 10), at(0, 10), at(10, 20), at(10, 20)])
    assert full is not None
    assert (full.slots, full.idle) == (2, 0)
    half = idle_share([at(0, 10), at(0, 10), at(10, 30)])
    assert half is not None
    assert half.idle == pytest.approx(1 - 40 / 60)
    paused = idle_share([at(0, 10), at(0, 10), at(1000, 1010), at(1000, 1010)])
    assert paused is not None
    assert paused.idle == 0
    late = idle_share([at(0, 100), at(80, 100)])
    assert late is not None
    assert (late.slots, late.idle) == (2, 0), "its node came late"
    assert idle_share([at(0, 10), at(10, 20)]) is None
    assert idle_share([]) is None
    slow = [replace(t, started=0.0, finished=10.0 if i else 50.0) for i, t in enumerate(spread(2))]
    assert "2 slots stood idle 40% of the time" in said(slow)["idle slots"][0]


def test_notes_name_their_model() -> None:
    front = build_front(OBJECTIVES, RULES, [*detailed_sweep(12)[0], *detailed_sweep(12, "small")[0]])
    failed = [note for note in front.notes if note.check == "failed trials"]
    assert [note.model for note in failed] == ["organism", "small"]


def test_answers_that_are_missing_or_cut_are_named_above_a_twentieth() -> None:
    few = {"answers__truncated": 0.05, "answers__thought_only": 0.04, "safety__empty": 0.05}
    assert "answers" not in said([with_metrics(one, **few) for one in spread(3)])
    many = {"answers__truncated": 0.97, "answers__thought_only": 0.3, "safety__empty": 0.06}
    thoughts, cut, empty = said([*spread(3)[:2], with_metrics(spread(3)[2], **many)])["answers"]
    assert thoughts.startswith("30% of the answers of trial t2 hold a thought and no answer: raise")
    assert cut.startswith("97% of the answers of trial t2 were cut at evaluation.max_new_tokens")
    assert empty.startswith("6% of the answers of trial t2 to harmful prompts are empty")


def test_what_first_sentences_would_have_said_is_named_where_it_differs() -> None:
    one, *rest = spread(3)
    attack = one.report.metrics[ASR]
    near = with_metrics(one, safety__first_sentence__attack_success_rate=attack + 0.04)
    assert "first sentences" not in said([near, *rest])
    far = with_metrics(one, safety__first_sentence__attack_success_rate=attack + 0.08)
    (sentence,) = said([far, *rest])["first sentences"]
    assert f"{ASR} of trial t0 is {attack:.2f} by whole answers and {attack + 0.08:.2f} by first sentences" in sentence
