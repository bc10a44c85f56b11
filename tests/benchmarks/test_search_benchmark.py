"""The replay of recorded trials that benchmarks/search.py compares searchers by."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from search_proposers import proposer
from search_replay import Rungs, pruned_by, replay
from search_table import HALVES, Table

from sweeps.goals.pruning import PruningConfig


def _row(alpha: float, warmup: str, layer: int, share: float) -> dict[str, Any]:
    """Alpha trades accuracy for safety; a later layer is worse at both, so that the front is that of layer 0."""
    attack, accuracy = 0.9 - 0.2 * alpha + 0.05 * layer, 0.9 - 0.1 * alpha - 0.2 * layer
    settings = {"alpha": alpha, "warmup_steps": warmup, "layer": layer, "safety_share": share, "steps": 10}
    ends = {"safety/attack_success_rate": attack, "utility/accuracy": accuracy}
    final = {f"{half}.{name}": 100 * value for name, value in ends.items() for half in HALVES}
    final |= {f"{half}.total.{name}": 100 for name in ends for half in HALVES}
    rung = {"rung4.safety/refusal_log_odds": -attack, "rung4.error.safety/refusal_log_odds": 0.001}
    return {**settings, **final, **rung, "rung4.utility/loss": 1 - accuracy, "rung4.error.utility/loss": 0.001}


@pytest.fixture(scope="module")
def table() -> Table:
    return Table([_row(*cell) for cell in itertools.product((1.0, 2.0, 4.0), ("2", "all"), (0, 1), (0.0, 0.1))])


@pytest.mark.parametrize("name", ["grid", "random", "tpe", "nsga2"])
def test_steps_are_those_of_finished_trials_and_of_stopped_ones_up_to_their_rung(table: Table, name: str) -> None:
    stopped = {row for row in range(len(table.rows)) if table.rows[row]["layer"] == 1}
    done = replay(table, proposer(name, table, 0), Rungs((4,), lambda row, step: row in stopped), enough=1.1)
    assert set(done.pruned) == stopped
    assert set(done.pruned) | set(done.finished) == set(range(len(table.rows)))
    assert done.spent == 10 * len(done.finished) + 4 * len(done.pruned)
    assert done.curve[-1][1] == pytest.approx(1.0)
    steps, shares = zip(*done.curve, strict=True)
    assert list(steps) == sorted(steps)
    assert list(shares) == sorted(shares)


def _scaled(row: dict[str, Any]) -> dict[str, Any]:
    """With the model half way, which keeps all of the accuracy and half of the attacks; its answers are foreseeable."""
    attack, accuracy = row["select.safety/attack_success_rate"], row["select.utility/accuracy"]
    ends = {"safety/attack_success_rate": attack / 2, "utility/accuracy": accuracy}
    half = {f"scale0.5.{side}.{name}": value for name, value in ends.items() for side in HALVES}
    half |= {f"scale0.5.{side}.total.{name}": 100 for name in ends for side in HALVES}
    half |= {"scale0.5.rung.safety/refusal_log_odds": -attack / 2, "scale0.5.rung.utility/loss": 1 - accuracy}
    whole = {"rung10.safety/refusal_log_odds": -attack, "rung10.utility/loss": 1 - accuracy}
    return row | half | whole | {"seconds.training": 20.0, "seconds.measuring": 6.0, "seconds.looking": 1.0}


def test_scaled_models_cost_their_seconds_and_count_towards_the_share(table: Table) -> None:
    """A step takes two seconds: a look costs half a step, measuring in full three."""
    scaled = Table([_scaled(row) for row in table.rows])
    assert scaled.scales == (0.5,)
    assert (scaled.look, scaled.measuring) == (0.5, 3.0)
    plain, done = (replay(scaled, proposer("random", scaled, 0), enough=9.0, scales=scales) for scales in (False, True))
    assert set(done.finished) == set(plain.finished)
    assert {scale for _, scale in done.scaled} == {0.5}
    assert done.spent == plain.spent + 0.5 * len(done.finished) + 3 * len(done.scaled)
    assert done.prices[-1] == done.spent + 3 * len(done.finished)
    assert done.curve[-1][1] > 1.0 == pytest.approx(plain.curve[-1][1])
    assert len(done.scaled) < len(done.finished), "what is foretold to be dominated is not measured"
    assert done.curve[-1][1] <= scaled.share(done.finished, [(row, 0.5) for row in done.finished])


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_row_that_begins_from_another_costs_the_rest_alone(table: Table, name: str) -> None:
    """Of each pair that differs in its warm-up (2 of 10 steps, or all) the later one is spared 2 steps."""
    stopped = {row for row in range(len(table.rows)) if table.rows[row]["layer"] == 1}
    rungs = Rungs((4,), lambda row, step: row in stopped)
    done = replay(table, proposer(name, table, 0, forks=True), rungs, enough=1.1, forks=True)
    assert all(set(shared.values()) == {2} for shared in table.shared)
    assert set(done.pruned) | set(done.finished) == set(range(len(table.rows)))
    whole = 10 * len(done.finished) + 4 * len(done.pruned)
    pairs = len(table.rows) // 2
    assert whole - 2 * pairs <= done.spent < whole  # two of a pair that run at once share nothing
    assert replay(table, proposer(name, table, 0), rungs, enough=1.1).spent == whole


def test_who_foresees_every_measurement_needs_the_front_alone(table: Table) -> None:
    done = replay(table, proposer("seer", table, 0))
    assert {table.rows[row]["layer"] for row in done.finished} == {0}


def test_what_the_base_model_dominates_is_no_gain(table: Table) -> None:
    worst = max(range(len(table.rows)), key=lambda row: table.values[row][0] - table.values[row][1])
    base = Table(table.rows, base=_row(1.0, "2", 0, 0.0))
    assert base.share([worst]) == base.share([])
    assert 0 < base.share([]) < base.share(range(len(table.rows))) == pytest.approx(1.0)


def test_ends_with_enough_and_knows_the_steps_to_a_share(table: Table) -> None:
    done = replay(table, proposer("random", table, 1), enough=0.8)
    assert done.steps_to(0.8) == done.curve[-1][0] == 10 * len(done.finished)
    assert done.steps_to(2.0) == float("inf")


def test_the_products_pruning_stops_dominated_cells_and_none_of_the_front(table: Table) -> None:
    pruning = PruningConfig(rungs=[0.4], reduction=2.0)
    done = replay(table, proposer("random", table, 0), pruned_by(table, pruning), enough=1.1)
    assert done.pruned
    assert all(table.rows[row]["layer"] == 1 for row in done.pruned)
    assert done.curve[-1][1] == pytest.approx(1.0)


def test_a_proposal_moves_to_the_nearest_free_cell(table: Table) -> None:
    import numpy as np

    drawn = {"alpha": 1.1, "warmup_steps": "all", "layer": 1, "safety_share": 0.0}
    first = table.nearest(drawn, range(len(table.rows)), np.random.default_rng(0))
    assert {name: table.rows[first][name] for name in drawn} == {**drawn, "alpha": 1.0}
    free = set(range(len(table.rows))) - {first}
    second = table.rows[table.nearest(drawn, free, np.random.default_rng(0))]
    assert {name: second[name] for name in drawn} == {**drawn, "alpha": 2.0}
