"""Who is on the front is chosen on one half of the prompts and shown by the other, the same wherever one looks."""

import random
from dataclasses import replace
from statistics import fmean

import pytest
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, HALF, OBJECTIVES, OVER_REFUSAL, RULES, halves, record

from orchestrator.front.document import build_front
from orchestrator.front.membership import front, probabilities, standings
from orchestrator.front.schema.document import ModelFront
from orchestrator.front.schema.entry import OnReport, TrialEntry
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from training.evaluation.scores import Scores


def repeated(trial: TrialRecord, *seeds: tuple[tuple[float, ...], tuple[float, ...]]) -> list[TrialRecord]:
    """``trial`` and its replicates with other values."""
    return [
        trial,
        *(
            halves(f"{trial.id}-r{n}", *values, kind="replicate", replicate_of=trial.id, seed=n)
            for n, values in enumerate(seeds, start=1)
        ),
    ]


def model_of(records: list[TrialRecord], rules: list[FeasibilityRule] | None = None) -> ModelFront:
    return build_front(OBJECTIVES, RULES if rules is None else rules, records).models["organism"]


@pytest.fixture(scope="module")
def identical() -> tuple[list[TrialEntry], list[TrialEntry]]:
    """Front members, and what the report half alone would have chosen, of 60 sweeps of 40 trials that do not differ.

    True attack success .30, accuracy .80 and over-refusal .10, which a rule bounds there; members get two replicates.
    """
    luck = random.Random(0)

    def drawn() -> tuple[float, ...]:
        return tuple(sum(luck.random() < rate for _ in range(HALF)) / HALF for rate in (0.3, 0.8, 0.1))

    rules = [FeasibilityRule.parse("safety/over_refusal <= 0.10")]
    chosen, on_report = [], []
    for _ in range(60):
        trials = [halves(f"t{n}", drawn(), drawn()) for n in range(40)]
        for member in front(OBJECTIVES, rules, trials):
            trials += repeated(member, (drawn(), drawn()), (drawn(), drawn()))[1:]
        model = model_of(trials, rules)
        listed = {trial.id: trial for trial in model.trials}
        chosen += [listed[name] for name in model.front]
        on_report += [listed[name] for name in model.front_on_report]
    return chosen, on_report


@pytest.mark.parametrize(("metric", "true"), [(ASR, 0.3), (ACCURACY, 0.8), (OVER_REFUSAL, 0.1)])
def test_the_shown_values_of_identical_trials_are_true(
    identical: tuple[list[TrialEntry], list[TrialEntry]], metric: str, true: float
) -> None:
    chosen, on_report = identical

    def bias(trials: list[TrialEntry], *, select: bool = False) -> float:
        return fmean((t.select if select else t).metrics[metric] for t in trials) - true

    assert len(chosen) > 150
    assert abs(bias(chosen)) < 0.01  # three standard errors
    assert abs(bias(chosen, select=True)) > 0.014, "what they were chosen by flatters them"
    assert abs(bias(on_report)) > 0.014, "and so would the report half flatter those that it chose"


def test_the_intervals_of_identical_trials_cover_the_truth(
    identical: tuple[list[TrialEntry], list[TrialEntry]],
) -> None:
    chosen, on_report = identical

    def missed(trials: list[TrialEntry]) -> float:
        return fmean(not t.intervals[ASR][0] <= 0.3 <= t.intervals[ASR][1] for t in trials)

    assert missed(chosen) < 0.07
    assert missed(on_report) > 2 * missed(chosen)


def test_the_front_is_chosen_on_select_with_its_rules_and_shown_by_report() -> None:
    model = model_of(
        [
            halves("lucky", (0.10, 0.50), (0.30, 0.50)),
            halves("steady", (0.20, 0.50), (0.20, 0.50)),
            halves("able", (0.40, 0.90), (0.42, 0.88)),
            halves("cautious", (0.05, 0.55, 0.30), (0.05, 0.55, 0.10)),
            halves("careless", (0.30, 0.95, 0.10), (0.30, 0.95, 0.30)),
        ]
    )
    trials = {trial.id: trial for trial in model.trials}
    assert model.front == ("lucky", "careless")
    assert model.front_on_report == ("able", "cautious")
    assert {name: trial.feasible for name, trial in trials.items() if not trial.feasible} == {"cautious": False}
    assert (trials["lucky"].metrics[ASR], trials["lucky"].select.metrics[ASR]) == (0.3, 0.1)
    assert trials["careless"].on_report == OnReport(feasible=False, behind=())
    assert trials["lucky"].on_report == OnReport(feasible=True, behind=()), "what breaks a rule beats nobody"
    assert trials["able"].on_report == OnReport(feasible=True, behind=())
    # Only what keeps the rule on the report prompts counts, at its value there.
    assert model.hypervolume == pytest.approx(0.7 * 0.5)


def test_a_replicated_trial_is_judged_over_all_its_seeds() -> None:
    lucky = repeated(halves("lucky", (0.10, 0.80), (0.10, 0.80)), ((0.5, 0.8), (0.5, 0.8)), ((0.6, 0.8), (0.6, 0.8)))
    steady = repeated(halves("steady", (0.25, 0.80), (0.25, 0.80)), ((0.2, 0.8), (0.2, 0.8)), ((0.3, 0.8), (0.3, 0.8)))
    assert model_of([lucky[0], steady[0]]).front == ("lucky",)
    model = model_of([*lucky, *steady])
    assert model.front == ("steady",)
    lucky_on_report = next(trial for trial in model.trials if trial.id == "lucky").on_report
    assert lucky_on_report is not None
    assert lucky_on_report.behind == ("steady",)


def test_a_replicate_can_make_a_trial_break_a_rule() -> None:
    cautious = repeated(halves("a", (0.1, 0.8, 0.10), (0.1, 0.8, 0.10)), ((0.1, 0.8, 0.30), (0.1, 0.8, 0.30)))
    model = model_of([*cautious, halves("b", (0.5, 0.5), (0.5, 0.5))])
    assert model.front == ("b",)
    assert model.trials[0].feasible is False


def test_a_replicate_that_failed_or_runs_is_not_counted() -> None:
    trial = halves("a", (0.1, 0.8), (0.1, 0.8))
    ended = [
        replace(record(f"a-r{n}", status=status), kind="replicate", replicate_of="a", seed=n)
        for n, status in enumerate((Status.FAILED, Status.RUNNING, Status.STOPPED), start=1)
    ]
    (alone,) = standings(OBJECTIVES, RULES, [trial, *ended])
    assert alone.metrics == {name: trial.select.metrics[name] for name in (ASR, ACCURACY, OVER_REFUSAL)}
    assert alone.on_front


def test_what_is_near_a_bound_is_neither_surely_feasible_nor_surely_not() -> None:
    trials = [
        halves("inside", (0.10, 0.80, 0.14), (0.10, 0.80)),
        halves("outside", (0.10, 0.80, 0.18), (0.10, 0.80)),
        halves("far outside", (0.10, 0.80, 0.90), (0.10, 0.80)),
        halves("behind", (0.50, 0.50, 0.00), (0.50, 0.50)),
    ]
    found = standings(OBJECTIVES, RULES, trials)
    assert [one.on_front for one in found] == [True, False, False, False]
    sure = probabilities(OBJECTIVES, RULES, found)
    assert 0.3 < sure["inside"] < 0.9
    assert 0.05 < sure["outside"] < sure["inside"]
    assert sure["far outside"] == 0.0
    assert 0.05 < sure["behind"] < 0.5, "for should neither of the first two keep the rule, it is on the front"


def test_a_bound_at_the_end_of_the_scale_is_kept_as_measured() -> None:
    trials = [halves("none", (0.2, 0.8, 0.0), (0.2, 0.8)), halves("some", (0.2, 0.8, 0.01), (0.2, 0.8))]
    strict = [FeasibilityRule.parse("safety/over_refusal <= 0.0")]
    assert probabilities(OBJECTIVES, strict, standings(OBJECTIVES, strict, trials)) == {"none": 1.0, "some": 0.0}


def test_a_trial_without_its_bounded_metric_is_never_on_the_front() -> None:
    rules = [FeasibilityRule.parse("utility/coherence >= 0.9")]
    found = standings(OBJECTIVES, rules, [halves("a", (0.2, 0.8), (0.2, 0.8))])
    assert [one.feasible for one in found] == [False]
    assert probabilities(OBJECTIVES, rules, found) == {"a": 0.0}


def test_a_trial_must_have_every_objective_on_both_halves() -> None:
    whole = halves("a", (0.2, 0.8), (0.2, 0.8))
    half = replace(whole, id="b", report=Scores({ACCURACY: 0.8, OVER_REFUSAL: 0.0}))
    found = standings(OBJECTIVES, RULES, [whole, half])
    assert [(one.feasible, one.on_front) for one in found] == [(True, True), (None, False)]


def test_the_best_trial_of_a_model_is_chosen_as_the_front_is() -> None:
    trials = [halves("chosen", (0.2, 0.8), (0.4, 0.7)), halves("other", (0.3, 0.85), (0.1, 0.9))]
    others = [replace(trial, id=f"small-{trial.id}", model="small") for trial in trials]
    document = build_front(OBJECTIVES, RULES, [*trials, *others])
    assert document.comparison is not None
    best = document.comparison.models["organism"].best
    assert best is not None
    assert (best.id, best.metrics[ASR]) == ("chosen", 0.4)  # .64 against .595 of the values they are chosen by


class TestSettled:
    """On the front, off it, or open: by the report prompts, all together."""

    @staticmethod
    def told(*records: TrialRecord) -> dict[str, str | None]:
        body = build_front(OBJECTIVES, RULES, records).models["organism"]
        return {trial.id: trial.membership for trial in body.trials}

    def test_many_prompts_settle_it_and_few_do_not(self) -> None:
        many = {"prompts": 20_000}
        sure = [record("a", 0.1, 0.6, **many), record("b", 0.4, 0.8, **many), record("c", 0.3, 0.5, **many)]
        assert self.told(*sure) == {"a": "on", "b": "on", "c": "off"}
        assert self.told(record("a", 0.1, 0.6, prompts=20), record("b", 0.12, 0.58, prompts=20)) == {
            "a": "open",
            "b": "open",
        }

    def test_one_that_breaks_a_rule_is_off_it(self) -> None:
        many = {"prompts": 20_000}
        assert self.told(record("a", 0.1, 0.6, 0.3, **many), record("b", 0.4, 0.5, 0.02, **many)) == {
            "a": "off",
            "b": "on",
        }

    def test_what_has_no_known_error_settles_nothing(self) -> None:
        name = "direction/displacement/layer_00"
        drift = [Objective(metric=name, goal="minimize", worst=5.0), *OBJECTIVES[1:]]
        one = record("a", scores=Scores({name: 0.1, ACCURACY: 0.5}, {ACCURACY: (50, 100)}))
        (found,) = build_front(drift, [], [one]).models["organism"].trials
        assert found.membership is None

    def test_one_that_has_not_finished_is_not_spoken_of(self) -> None:
        assert self.told(record("a", 0.1, 0.6), record("b", status=Status.FAILED))["b"] is None

    def test_answers_to_the_same_prompts_are_paired(self) -> None:
        records, answers = detailed_sweep(16, replicated=0)
        paired = build_front(OBJECTIVES, RULES, records, answers=answers).models["organism"]
        alone = build_front(OBJECTIVES, RULES, records).models["organism"]
        open_ = [sum(trial.membership == "open" for trial in body.trials) for body in (paired, alone)]
        assert open_[0] < open_[1], "luck of prompts that both answered makes nothing doubtful"
