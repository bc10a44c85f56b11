"""Scaled models on the front: members like trials, no trials of the search, and references that cost nothing."""

from dataclasses import replace

from front_samples import OBJECTIVES, RULES, record, references, sweep

from orchestrator.front.document import build_front
from orchestrator.front.notes import idle_share
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.trials import TrialRecord, at_scale
from sweeps.schema.arms import PLAIN
from training.evaluation.scores import Scores


def scaled(one: TrialRecord, scale: float, asr: float, accuracy: float) -> TrialRecord:
    there = record("there", asr, accuracy)
    return at_scale(one, scale, Scores({"utility/loss": 1.0}), there.report, there.select, 30)


def front_of(*records: TrialRecord) -> FrontDocument:
    return build_front(OBJECTIVES, RULES, records)


TRIAL = record("a", 0.4, 0.8)


def test_one_that_nothing_beats_is_a_member_with_its_scale_among_the_settings() -> None:
    body = front_of(TRIAL, scaled(TRIAL, 0.5, 0.1, 0.7), scaled(TRIAL, 0.25, 0.2, 0.6)).models["organism"]
    assert body.front == ("a", "a@0.5")
    half = next(trial for trial in body.trials if trial.id == "a@0.5")
    assert (half.scaled_of, half.params["scale"]) == ("a", 0.5)
    assert (body.trials[0].scaled_of, "scale" in body.trials[0].params) == (None, False)
    assert [trial.id for trial in body.searched] == ["a"]


def test_importance_and_predictions_are_of_trials_that_were_trained() -> None:
    trials = [one for one in sweep(12) if one.kind == "trial"]
    alone = front_of(*trials).models["organism"]
    beside = front_of(*trials, *(scaled(one, 0.5, 0.9, 0.1) for one in trials)).models["organism"]
    assert (beside.importance, beside.prediction) == (alone.importance, alone.prediction)
    assert beside.importance.n == sum(one.report.metrics != {} for one in trials)


def test_scaled_references_are_apart_from_the_three_that_every_sweep_has() -> None:
    others = [replace(one, trial=None if one.label == "base" else {"seed": 0}) for one in references()]
    plain = next(one for one in others if one.label == "ift")
    front = front_of(*others, scaled(plain, 0.5, 0.05, 0.75), record("a", 0.1, 0.7), record("b", 0.3, 0.8))
    body = front.models["organism"]
    assert list(body.reference) == ["base", "ift", "ift_safety"]
    assert list(body.scaled_references or {}) == ["ift@0.5"]
    (note,) = [note for note in front.notes if note.check == "scaled references"]
    assert note.sentence == (
        "ift@0.5, a reference scaled, which takes neither training nor search, beats 1 of the 2 members of the front "
        "on the report prompts (such as a)"
    )


def test_a_scaled_reference_that_beats_nothing_is_not_noted() -> None:
    plain = next(one for one in references() if one.label == "ift")
    front = front_of(plain, scaled(plain, 0.5, 0.5, 0.5), record("a", 0.1, 0.7))
    assert not [note for note in front.notes if note.check == "scaled references"]


def test_the_verdict_counts_trainings_and_takes_all_of_their_models() -> None:
    ours, theirs = record("a", 0.2, 0.8), replace(record("b", 0.6, 0.8), arm=PLAIN)
    plain = replace(next(one for one in references() if one.label == "ift"), trial={"seed": 0})
    before = front_of(plain, ours, theirs).models["organism"]
    after = front_of(plain, ours, theirs, scaled(theirs, 0.5, 0.1, 0.8), scaled(plain, 0.5, 0.05, 0.1))
    body = after.models["organism"]
    assert body.arms is not None
    assert body.verdict is not None
    assert before.verdict is not None
    assert (body.arms["constraint"].trials, body.arms["plain"].trials) == (1, 1)
    assert set(body.arms["plain"].front) == {"b@0.5", "ift@0.5"} | ({"ift"} & set(body.arms["plain"].front))
    assert before.verdict.difference > 0 > body.verdict.difference
    assert body.verdict.sentence.startswith("With 1 trial each, scaled models included, the constraint loses")


def test_time_of_slots_is_that_of_trainings() -> None:
    first, second = replace(TRIAL, started=0.0, finished=10.0), replace(TRIAL, id="b", started=5.0, finished=15.0)
    alone = idle_share([first, second])
    assert idle_share([first, scaled(first, 0.5, 0.1, 0.1), second]) == alone
