from dataclasses import replace

import pytest

from sweeps.cost.cost import HEADROOM, Figures, Frame, Work, cost, model_work, sweep_seconds
from sweeps.schema.load import load_spec
from sweeps.schema.resources import ResourcesConfig


def demo(*overrides):
    return load_spec("demo", overrides)


class TestWork:
    def test_references_searched_trials_and_replicates(self):
        work = model_work(demo("trials=10", "seeds.replicates_on_front=3"))
        assert (work.untrained, work.references, work.searched, work.replicates) == (1, 2, 10, 24)
        assert (work.trained, work.trials) == (36, 37)
        assert work.total_steps == 36 * 100
        assert work.tokens(40.5) == 36 * 100 * 16 * 40.5

    def test_without_replicates_there_are_none(self):
        assert model_work(demo()).replicates == 0

    def test_the_longest_trial_of_the_search_counts(self):
        work = model_work(
            demo("search.steps={type: int, low: 60, high: 700}", "search.batch_size={type: choice, values: [8, 64]}")
        )
        assert (work.steps, work.batch_size) == (700, 64)

    def test_an_extra_warm_up_is_trained_too(self):
        assert model_work(demo("trial.constraint.warmup=extra")).steps == 100 + 50

    def test_extremes_that_exclude_each_other_are_left_out(self):
        work = model_work(
            demo(
                "search.steps={type: int, low: 30, high: 200}",
                "search.constraint.warmup_steps={type: int, low: 5, high: 30}",
            )
        )
        assert work.steps == 200


WORK = Work(untrained=1, references=2, searched=7, replicates=0, steps=100, batch_size=32, max_length=64)
FIGURES = Figures(seconds_per_step=0.5, seconds_beside=4.0)


FRAME = Frame(seconds_start=20.0, seconds_end=6.0)
ONE_SLOT = 9 * 100 * 0.5 + 10 * 4.0


class TestTime:
    def test_of_one_slot(self):
        assert sweep_seconds([WORK], [FIGURES], 1, FRAME) == ONE_SLOT + 26.0

    def test_slots_share_whole_trials(self):
        two = sweep_seconds([WORK], [FIGURES], 2, Frame(0.0, 0.0))
        assert two == 5 * 54.0  # one has the base model and five trainings, the other four
        assert sweep_seconds([WORK], [FIGURES], 100, Frame(0.0, 0.0)) == 54.0

    def test_every_slot_prepares_and_every_other_model_is_loaded_anew(self):
        slow = replace(FIGURES, seconds_once=30.0)
        nothing = Frame(0.0, 0.0)
        assert sweep_seconds([WORK], [slow], 1, nothing) == ONE_SLOT + 30
        assert sweep_seconds([WORK], [slow], 2, nothing) == 5 * 54.0 + 30
        assert sweep_seconds([WORK, WORK], [slow, slow], 2, nothing) == ONE_SLOT + 30, "each slot keeps to its model"

    def test_scaled_models_are_measured_and_not_trained(self):
        scaled, measuring = replace(WORK, scales=2), replace(FIGURES, seconds_measuring=3.0)
        assert sweep_seconds([scaled], [measuring], 1, FRAME) == ONE_SLOT + 26.0 + 9 * 2 * 3.0
        assert model_work(demo("evaluation.scales=[0.5, 1.0, 0.75]")).scales == 2

    def test_at_most_repeats_every_trial_and_allows_for_slower_minutes(self):
        repeated = replace(WORK, replicates=14)
        nothing = Frame(0.0, 0.0)
        assert sweep_seconds([repeated], [FIGURES], 1, nothing) == ONE_SLOT + 5 * 54.0
        most = sweep_seconds([repeated], [FIGURES], 1, nothing, at_most=True)
        assert most == pytest.approx((ONE_SLOT + 14 * 54.0) * HEADROOM)


def test_money_is_of_gpus_where_there_are_any_and_else_of_workers():
    on_gpus = ResourcesConfig(workers=2, gpus_per_worker=0.5, price_per_hour=3.0)
    used = cost(7200, 3, on_gpus)
    assert (used.hours, used.gpu_hours, used.money) == (2.0, 6.0, 18.0)
    on_cpus = ResourcesConfig(workers=2, price_per_hour=3.0)
    used = cost(7200, 3, on_cpus)
    assert (used.gpu_hours, used.money) == (0.0, 36.0)
    assert cost(7200, 3, ResourcesConfig()).money is None
