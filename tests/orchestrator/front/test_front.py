"""Who is on the front, and what front.json says about it."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, record, references, sweep, with_scores

from orchestrator.front.document import build_front
from orchestrator.front.schema.document import ModelFront
from orchestrator.front.schema.entry import TrialEntry
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.statistics.intervals import wilson_interval
from training.evaluation.scores import Scores


def model_of(records: Iterable[TrialRecord], rules: list[FeasibilityRule] | None = None) -> ModelFront:
    return build_front(OBJECTIVES, RULES if rules is None else rules, records).models["organism"]


def members(model: ModelFront) -> list[str]:
    return [trial.id for trial in model.members]


def test_the_front_is_what_no_feasible_finished_trial_beats() -> None:
    model = model_of(
        [
            record("best-safety", 0.05, 0.40),
            record("best-accuracy", 0.40, 0.80),
            record("middle", 0.20, 0.60),
            record("dominated", 0.25, 0.55),
            record("infeasible", 0.01, 0.90, over_refusal=0.5),
            record("pruned", status=Status.PRUNED),
        ]
    )
    assert tuple(members(model)) == model.front == ("best-safety", "best-accuracy", "middle")
    feasible = {trial.id: trial.feasible for trial in model.trials}
    assert feasible["infeasible"] is False
    assert feasible["dominated"] is True
    assert feasible["pruned"] is None
    # Strips between the accuracies 0, .4, .6, .8, each as wide as the distance of its best rate from 1.
    assert model.hypervolume == pytest.approx(0.4 * 0.95 + 0.2 * 0.80 + 0.2 * 0.60)


def test_references_are_no_trials_and_never_on_the_front() -> None:
    model = model_of([*references(), record("poor", 0.9, 0.1)])
    assert list(model.reference) == ["base", "ift", "ift_safety"]
    assert model.reference["ift"].metrics[ASR] == 0.66
    assert model.reference["ift"].intervals[ASR] == wilson_interval(132, 200)
    assert members(model) == ["poor"]


def test_the_document_has_the_layout_that_scripts_rely_on() -> None:
    front = build_front(OBJECTIVES, RULES, sweep(24)).as_json()
    assert front["version"] == 1
    assert front["objectives"] == [
        {"metric": ASR, "goal": "minimize", "worst": 1.0},
        {"metric": ACCURACY, "goal": "maximize", "worst": 0.0},
    ]
    assert front["feasible"] == ["safety/over_refusal <= 0.15"]
    assert "comparison" not in front
    model = front["models"]["organism"]
    trials = model["trials"]
    assert len(trials) == 24
    wanted = {"id", "status", "params", "metrics", "intervals", "select", "on_front", "p_on_front", "feasible"}
    assert all(wanted | {"on_report"} <= set(trial) for trial in trials)
    assert all(next(iter(trial)) == "id" for trial in trials)
    assert (front["chosen_on"], model["front_on_report"]) == ("all", model["front"])
    assert {trial["status"] for trial in trials} == {"FINISHED", "PRUNED", "FAILED"}
    assert next(trial for trial in trials if trial["status"] == "FAILED")["error"] == "loss became NaN"
    assert not {"seeds", "rungs", "reason", "error", "versus"} & set(trials[0])
    assert json.loads(json.dumps(front, allow_nan=False)) == front


def test_prompts_that_were_not_split_are_told_though_only_the_report_says_what_a_trial_took() -> None:
    one = record("one", scores=Scores({ASR: 0.2, ACCURACY: 0.9, "utility/loss": 1.0}))
    report = one.report.joined(Scores({"evaluation/seconds": 3.0}))
    assert build_front(OBJECTIVES, [], [replace(one, report=report)]).chosen_on == "all"
    other = one.select.joined(Scores({ASR: 0.3}))
    assert build_front(OBJECTIVES, [], [replace(one, report=report, select=other)]).chosen_on == "select"


def test_a_value_that_is_not_a_number_becomes_null_and_is_not_on_the_front() -> None:
    sick = record("sick", scores=Scores({ASR: math.nan, ACCURACY: 0.9, "utility/loss": math.inf}))
    model = model_of([sick], [])
    assert model.trials[0].metrics == {ASR: None, ACCURACY: 0.9, "utility/loss": None}
    assert members(model) == []
    assert model.trials[0].feasible is None
    assert build_front(OBJECTIVES, [], [sick]).chosen_on == "all", "what is not a number differs from itself"


def test_an_empty_front_says_why() -> None:
    assert "1 PRUNED" in str(model_of([record("a", status=Status.PRUNED)]).note)
    note = str(model_of([record("a", over_refusal=0.4), record("b", over_refusal=0.2)]).note)
    assert "None of the 2 measured models keeps safety/over_refusal <= 0.15" in note
    assert "trial b comes nearest with 0.2" in note
    assert model_of([record("a")]).note is None


def test_probability_on_the_front_follows_the_number_of_prompts() -> None:
    def of_second(prompts: int) -> float:
        model = model_of([record("a", 0.10, 0.50, prompts=prompts), record("b", 0.12, 0.49, prompts=prompts)])
        return model.trials[1].p_on_front or 0.0

    assert of_second(20) > 0.4  # on 20 prompts the two cannot be told apart
    assert of_second(20_000) < 0.05
    assert model_of([record("alone")]).trials[0].p_on_front == 1.0


LOSS = Objective(metric="utility/loss", goal="minimize", worst=3.0)


def lossy(identity: str, loss: float, errors: Mapping[str, float] = {}) -> TrialRecord:
    """A trial with a held-out loss beside its rates, which are the same for all."""
    return with_scores(record(identity, 0.3, 0.5), {"utility/loss": loss}, errors)


def losses(*trials: TrialRecord) -> tuple[TrialEntry, ...]:
    """The trials of a front of losses alone."""
    return build_front([LOSS], [], trials).models["organism"].trials


def test_a_loss_is_as_sure_as_its_error_over_samples() -> None:
    near = losses(*(lossy(name, loss, errors={"utility/loss": 0.1}) for name, loss in (("a", 1.0), ("b", 1.1))))
    assert near[1].p_on_front == pytest.approx(0.24, abs=0.05)
    assert near[0].intervals["utility/loss"] == pytest.approx((1 - 0.196, 1 + 0.196), abs=1e-3)
    assert near[0].errors == {"utility/loss": 0.1}
    assert near[0].select.intervals["utility/loss"] == near[0].intervals["utility/loss"]
    far = losses(*(lossy(name, loss, errors={"utility/loss": 0.01}) for name, loss in (("a", 1.0), ("b", 1.1))))
    assert [trial.p_on_front for trial in far] == [1.0, 0.0]


def test_a_loss_of_unknown_error_leaves_the_probability_unknown() -> None:
    """As in journals of before errors were kept; never 0 or 1."""
    found = losses(lossy("a", 1.0), lossy("b", 2.0))
    assert [trial.p_on_front for trial in found] == [None, None]
    assert "utility/loss" not in found[0].intervals


def test_seeds_widen_the_error_of_a_loss_and_stand_in_where_there_is_none() -> None:
    def copies(errors: dict[str, float]) -> TrialEntry:
        again = [
            replace(lossy(f"a-r{i}", loss, errors=errors), kind="replicate", replicate_of="a")
            for i, loss in ((1, 1.2), (2, 1.4))
        ]
        return losses(lossy("a", 1.0, errors=errors), *again)[0]

    both = copies({"utility/loss": 0.3})
    assert both.metrics["utility/loss"] == pytest.approx(1.2)
    assert both.errors["utility/loss"] == pytest.approx(math.sqrt(0.09 + 0.04 / 3))
    seeds = copies({})
    assert seeds.errors["utility/loss"] == pytest.approx(0.2 / math.sqrt(3))
    low, high = seeds.intervals["utility/loss"]
    assert (high - low) / 2 == pytest.approx(4.3027 * 0.2 / math.sqrt(3), rel=1e-3), "three values: Student's t"


def test_the_same_records_give_the_same_document() -> None:
    assert build_front(OBJECTIVES, RULES, sweep(24)) == build_front(OBJECTIVES, RULES, sweep(24))


def test_several_models_are_compared() -> None:
    front = build_front(OBJECTIVES, RULES, [*sweep(12), *sweep(8, "small", seed=1)])
    assert list(front.models) == ["organism", "small"]
    assert front.comparison is not None
    compared = front.comparison.models
    for name, model in front.models.items():
        assert compared[name].hypervolume == model.hypervolume
        assert compared[name].front_size == len(members(model))
        assert compared[name].ift == {ASR: 0.66, ACCURACY: 0.82}
        best = compared[name].best
        assert best is not None
        own = {t.id: (1 - (t.metrics[ASR] or 0)) * (t.metrics[ACCURACY] or 0) for t in model.members}
        assert own[best.id] == max(own.values())
    json.dumps(front.as_json(), allow_nan=False)


def test_a_model_without_a_front_is_compared_too() -> None:
    front = build_front(OBJECTIVES, RULES, [*sweep(6), *references("bare")])
    assert front.comparison is not None
    assert front.comparison.models["bare"].best is None
    assert front.comparison.models["bare"].front_size == 0
