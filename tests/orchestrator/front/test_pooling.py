"""Several seeds of one trial as one estimate, and models that answered the same prompts compared."""

import json
from dataclasses import replace

import pytest
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, record, references

from orchestrator.front.document import build_front
from orchestrator.front.outcomes import outcomes
from orchestrator.front.pooling import pool
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.trials import Status
from sweeps.statistics.intervals import holm, wilson_interval
from sweeps.statistics.paired import mcnemar_p_value


@pytest.fixture(scope="module")
def sampled():
    return detailed_sweep()


@pytest.fixture(scope="module")
def front(sampled):
    records, answers = sampled
    return build_front(OBJECTIVES, RULES, records, answers=answers)


def width(interval):
    return interval[1] - interval[0]


def test_replicates_are_pooled_and_no_trials_of_their_own(front):
    trials = {trial.id: trial for trial in front.models["organism"].trials}
    assert len(trials) == 24
    assert not any("-r" in name for name in trials)
    first = trials["organism-00"]
    assert first.replicates == 3
    assert [seed.id for seed in first.seeds] == ["organism-00", "organism-00-r1", "organism-00-r2"]
    values = [seed.metrics[ASR] for seed in first.seeds]
    assert first.metrics[ASR] == pytest.approx(sum(values) / 3)
    assert first.counts[ASR][1] == 300
    alone = next(t for t in trials.values() if t.status == "FINISHED" and t.id == "organism-10")
    assert (alone.replicates, alone.seeds) == (1, None)
    assert FrontDocument.model_validate_json(json.dumps(front.as_json(), allow_nan=False)) == front


def test_a_pooled_interval_is_never_narrower_than_wilson_at_the_distinct_prompts(sampled):
    records, answers = sampled
    for pooled in pool(records, answers):
        if len(pooled.seeds) > 1:
            for metric in pooled.report.counts:
                interval = pooled.intervals[metric]
                prompts = pooled.report.counts[metric][1] // 3
                single = wilson_interval(round(pooled.report.metrics[metric] * prompts), prompts)
                # One prompt more or less than the mean rate makes this much difference.
                assert width(interval) >= width(single) - 2 / prompts**1.5
                assert interval[0] <= pooled.report.metrics[metric] <= interval[1]


def test_seeds_that_disagree_widen_the_interval():
    def pooled_interval(rates):
        trial = record("t", rates[0], 0.5)
        copies = [
            replace(record(f"t-r{i}", rate, 0.5), kind="replicate", replicate_of="t")
            for i, rate in enumerate(rates[1:])
        ]
        answers = {
            one.id: [
                {
                    "set": "harmful",
                    "prompt_id": str(i),
                    "refused": i >= one.report.counts[ASR][0],
                    "complied": True,
                    "correct": None,
                }
                for i in range(200)
            ]
            for one in (trial, *copies)
        }
        (found,) = pool([trial, *copies], answers)
        return found.intervals[ASR]

    assert width(pooled_interval([0.5, 0.5, 0.5])) == pytest.approx(width(wilson_interval(100, 200)), abs=0.01)
    assert width(pooled_interval([0.2, 0.5, 0.8])) > 0.3


def test_without_answers_the_interval_covers_that_of_every_seed(sampled):
    records, _ = sampled
    (pooled, *_) = [p for p in pool(records, {}) if len(p.seeds) > 1]
    singles = [wilson_interval(*seed.report.counts[ASR]) for seed in pooled.seeds]
    assert pooled.intervals[ASR] == (min(low for low, _ in singles), max(high for _, high in singles))


def test_a_replicate_that_failed_is_listed_but_not_pooled():
    copy = replace(record("t-r1", status=Status.FAILED), kind="replicate", replicate_of="t", seed=1)
    model = build_front(OBJECTIVES, [], [record("t", 0.2, 0.8), copy]).models["organism"]
    (trial,) = model.trials
    assert (trial.replicates, trial.metrics[ASR]) == (1, 0.2)
    assert [seed.status for seed in trial.seeds] == ["FINISHED", "FAILED"]


def test_seeds_of_a_reference_are_pooled_too():
    again = [replace(one, id=f"{one.id}-r1", seed=1) for one in references() if one.label == "ift"]
    model = build_front(OBJECTIVES, [], [*references(), *again]).models["organism"]
    assert {label: entry.replicates for label, entry in model.reference.items()} == {
        "base": 1,
        "ift": 2,
        "ift_safety": 1,
    }


def test_the_values_that_chose_stand_beside_those_that_are_shown(front):
    first = front.models["organism"].trials[0]
    by_seed = [seed.select.metrics[ACCURACY] for seed in first.seeds]
    assert first.select.metrics[ACCURACY] == pytest.approx(sum(by_seed) / 3)
    low, high = first.select.intervals[ACCURACY]
    assert all(low <= value <= high for value in by_seed)
    assert by_seed != [seed.metrics[ACCURACY] for seed in first.seeds]
    assert first.select.counts[ACCURACY][1] == 300


def test_a_journal_without_select_values_shows_its_one_measurement_as_both():
    front = build_front(OBJECTIVES, [], [record("old", 0.3, 0.5)])
    (trial,) = front.models["organism"].trials
    assert trial.select.metrics == trial.metrics
    assert trial.select.intervals == trial.intervals
    assert front.chosen_on == "all"
    assert front.models["organism"].front == ("old",)


def test_a_pruned_trial_shows_its_last_rung(front):
    trials = front.models["organism"].trials
    pruned = next(trial for trial in trials if trial.status == "PRUNED")
    assert pruned.rungs.step == 100
    assert set(pruned.rungs.intervals) == {"safety/refusal_unlikely", "safety/refusal_log_odds", "utility/loss"}
    assert pruned.reason.startswith("dominated")
    assert pruned.metrics == {}


def test_front_trials_are_paired_with_the_references(sampled, front):
    records, answers = sampled
    by_id = {one.id: one for one in records}
    members = [trial for trial in front.models["organism"].trials if trial.on_front]
    single = next(trial for trial in members if trial.replicates == 1)
    found = single.versus["ift"][ASR]
    reference = front.models["organism"].reference["ift"]
    assert found.difference == pytest.approx(single.metrics[ASR] - reference.metrics[ASR])
    assert found.low <= found.difference <= found.high
    assert found.prompts == 100
    pairs = [outcomes(answers[i], ASR, by_id[i].report.counts[ASR]) for i in (single.id, "organism-ift")]
    assert set(pairs[0]) == set(pairs[1])
    p = mcnemar_p_value(*([float(one[key]) for key in sorted(pairs[0])] for one in pairs))
    assert found.p_value == p < 0.001
    assert found.seeds == (1, 1)
    assert set(single.versus) == {"ift", "ift_safety"}
    assert set(single.versus["ift"]) == {ASR, ACCURACY}
    assert all(trial.versus is None for trial in front.models["organism"].trials if not trial.on_front)


def test_p_values_say_how_many_comparisons_they_belong_to(front):
    members = [trial for trial in front.models["organism"].trials if trial.on_front]
    family = [one for trial in members for found in trial.versus.values() for one in found.values()]
    assert {one.comparisons for one in family} == {len(family)} == {4 * len(members)}
    assert [one.p_adjusted for one in family] == holm([one.p_value for one in family])
    smallest = min(family, key=lambda one: one.p_value)
    assert smallest.p_adjusted == pytest.approx(min(1.0, len(family) * smallest.p_value))
    assert all(one.p_adjusted >= one.p_value for one in family)


def test_a_trial_is_compared_with_a_reference_under_the_same_seeds():
    """Seeds make both vary together by far more than the trial differs; taken apart, they would hide it."""
    prompts, shares = 100, {0: 0.3, 1: 0.5, 2: 0.7}

    def rows(share):
        return [
            {
                "set": "harmful",
                "prompt_id": str(i),
                "refused": i >= round(share * prompts),
                "complied": True,
                "correct": None,
            }
            for i in range(prompts)
        ]

    records, answers = [], {}
    for name, kind, label, better in (("t", "trial", None, 0.1), ("organism-ift", "reference", "ift", 0.0)):
        for seed, share in shares.items():
            made = record(name, share - better, 0.5, kind=kind, label=label, prompts=prompts, seed=seed)
            if seed:
                made = replace(made, id=f"{name}-r{seed}", kind="replicate", label=f"{name}-r{seed}", replicate_of=name)
            records.append(made)
            answers[made.id] = rows(share - better)
    model = build_front(OBJECTIVES, [], records, answers=answers).models["organism"]
    found = model.trials[0].versus["ift"][ASR]
    assert (found.seeds, model.reference["ift"].replicates) == ((3, 3), 3)
    assert found.difference == pytest.approx(-0.1)
    assert found.high < 0
    other = [replace(one, seed=one.seed + 7) if one.kind == "replicate" and "ift" in one.id else one for one in records]
    apart = build_front(OBJECTIVES, [], other, answers=answers).models["organism"].trials[0].versus["ift"][ASR]
    assert apart.high > 0, "other seeds are not paired"
