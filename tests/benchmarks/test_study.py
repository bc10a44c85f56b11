"""The preset of the study, and how its tables are made."""

import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.search.samplers import given_points
from sweeps.schema.load import load_spec
from sweeps.statistics.bootstrap import two_way_interval
from sweeps.statistics.intervals import wilson_interval

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import study  # noqa: E402
import study_statistics  # noqa: E402
import study_tables  # noqa: E402
from study_runs import ARMS, PLAIN, RATES, SAFETY, Run, arm_of, line_of, of_arm, pairs  # noqa: E402

SPEC = load_spec("study")


def _run(base: str, arm: str, seed: int, successes: int, total: int = 40) -> Run:
    found = {("direct", str(number), 0): number < successes for number in range(total)}
    drift = {
        f"direction/{kind}/layer_{layer:02d}": seed + layer for kind in ("cosine", "displacement") for layer in (0, 1)
    }
    metrics = dict.fromkeys(RATES, successes / total) | {
        "utility/loss": 0.2 + seed / 10,
        "safety/refusal_log_odds": float(seed),
        **drift,
    }
    return Run(base, arm, seed, metrics, dict.fromkeys(RATES, found))


def test_the_preset_is_every_arm_under_every_seed_on_every_base() -> None:
    points = given_points(SPEC.searcher, SPEC.space(4), SPEC.trials)
    assert points is not None
    trials = [SPEC.trial_config(point).model_dump() for point in points]
    found = sorted((arm_of(trial), trial["seed"]) for trial in trials)
    assert found == sorted((arm, seed) for arm in ARMS for seed in (0, 1, 2))
    assert len(found) == SPEC.trials == 72
    assert [(model.name, model.seed) for model in SPEC.models] == [("base-0", 0), ("base-1", 1), ("base-2", 2)]


def test_the_extra_warmup_is_the_papers() -> None:
    points = given_points(SPEC.searcher, SPEC.space(4), SPEC.trials) or []
    extra = [trial for trial in map(SPEC.trial_config, points) if trial.constraint.extra_steps]
    # Strong, then a plain training of its own: 4 and 16 of 10 epochs; 2 and 8 only with safety data.
    assert {trial.constraint.extra_steps for trial in extra} == {20, 40, 80, 160}
    for trial in extra:
        block = trial.constraint
        assert (block.alpha, block.alpha_after, block.restart) == (1.0, 0.0, True)
        assert trial.steps == 100
        assert trial.safety_share == 0.02 or block.extra_steps in (40, 160)


def test_the_preset_neither_prunes_nor_keeps_prompts_from_a_search() -> None:
    assert SPEC.pruning is None
    assert SPEC.evaluation.report_share == 0
    assert SPEC.evaluation.harmful >= 200


def test_searched_blocks_leave_nothing_of_each_other() -> None:
    points = given_points(SPEC.searcher, SPEC.space(4), SPEC.trials) or []
    by_type = {SPEC.trial_config(point).constraint.type: SPEC.trial_config(point).constraint for point in points}
    assert set(by_type) == {"procon", "random_direction", "sdp", "feature_l2", "safe_grad", "null_space"}
    assert "norm" not in type(by_type["sdp"]).model_fields


def test_with_one_base_the_interval_is_that_of_runs_and_prompts() -> None:
    generator = np.random.default_rng(1)
    table = (generator.random((5, 80)) < generator.random((5, 1))).astype(float)
    ours, theirs = study_statistics.rate(table, ["one"] * 5), two_way_interval(table)
    assert ours.mean == pytest.approx(theirs.mean)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_bases_that_differ_spread_a_mean_more_than_seeds_that_differ() -> None:
    values = np.array([1.0, 1.0, 0.0, 0.0])

    def drawn_means(bases: list[str]) -> np.ndarray:
        return study_statistics.run_weights(bases, 20_000, np.random.default_rng(0)) @ values

    of_bases, of_seeds = drawn_means(["one", "one", "two", "two"]), drawn_means(["one", "two", "one", "two"])
    assert of_bases.mean() == pytest.approx(0.5, abs=0.01)
    # Two bases of 1 and 0: a mean of 0, 1/2 or 1 with 1/4, 1/2 and 1/4. One 1 and one 0 in each of two bases: two draws
    # of 0 or 1 from each of the two drawn bases, four fair coins in all.
    assert of_bases.var() == pytest.approx(1 / 8, rel=0.05)
    assert of_seeds.var() == pytest.approx(1 / 16, rel=0.05)


def test_bases_count_the_same_however_many_runs_they_have() -> None:
    table = [[1.0], [1.0], [1.0], [0.0]]
    assert study_statistics.estimate(table, ["one", "one", "one", "two"]).mean == 0.5
    weights = study_statistics.run_weights(["one", "one", "one", "two"], 500, np.random.default_rng(0))
    assert weights.sum(axis=1) == pytest.approx(1.0)


def test_a_rate_without_any_spread_keeps_the_width_of_its_prompts() -> None:
    found = study_statistics.rate(np.ones((3, 100)), ["one", "two", "three"])
    assert (found.low, found.high) == pytest.approx(wilson_interval(100, 100))


def test_what_groups_have_in_common_is_no_correlation_beside_them() -> None:
    groups = ["a"] * 3 + ["b"] * 3
    first = [1.0, 2.0, 3.0, 11.0, 12.0, 13.0]
    assert study_statistics.correlation_beside_groups(first, [3.0, 2.0, 1.0, 13.0, 12.0, 11.0], groups) == -1.0
    assert study_statistics.correlation_within(first, [5.0, 5.0, 5.0, 1.0, 2.0, 3.0], groups) == [pytest.approx(1.0)]


def test_arms_are_compared_on_the_same_base_and_seed() -> None:
    runs = [_run(base, PLAIN, seed, 30) for base in ("one", "two") for seed in (0, 1)]
    runs += [_run("one", "ProCon^s", 0, 10), _run("two", "ProCon^s", 1, 20)]
    assert [(one.base, one.seed, other.base, other.seed) for one, other in pairs(runs, "ProCon^s", PLAIN)] == [
        ("one", 0, "one", 0),
        ("two", 1, "two", 1),
    ]
    found = study_tables.difference(runs, "ProCon^s", PLAIN, study_tables.ATTACK)
    assert found.mean == pytest.approx((10 - 30 + 20 - 30) / 2 / 40)
    assert found.low <= found.mean <= found.high < 0


def _answers(generator: np.random.Generator, rate: float, total: int) -> dict[tuple[str, str, int], bool]:
    return {("direct", str(number), 0): bool(generator.random() < rate) for number in range(total)}


def _made(base: str, arm: str, seed: int, attack: float, accuracy: float, scale: float = 1.0, total: int = 400) -> Run:
    """A run with answers drawn at known rates, one draw a run."""
    generator = np.random.default_rng([ord(letter) for letter in f"{base} {arm} {seed} {scale}"])
    found = {study_tables.ATTACK: _answers(generator, attack, total)}
    found[study_tables.ACCURACY] = _answers(generator, accuracy, total)
    return Run(base, arm, seed, {}, found, scale)


def _line(base: str, seed: int) -> list[Run]:
    """Attack success and accuracy of plain fine-tuning by scale: 0 and .1, .2 and .5, .6 and .8, 1 and .9."""
    points = {0.25: (0.2, 0.5), 0.5: (0.6, 0.8), 1.0: (1.0, 0.9)}
    return [_made(base, PLAIN, seed, *point, scale) for scale, point in points.items()]


def test_a_line_is_interpolated_between_the_neighbours_of_the_accuracy() -> None:
    attacks, accuracies = np.array([[[0.0], [0.2], [1.0]]]), np.array([[[0.1], [0.5], [0.9]]])

    def beyond(attack: float, accuracy: float) -> float:
        one = study_statistics.beyond_line(np.array([[attack]]), np.array([[accuracy]]), attacks, accuracies)
        return float(one[0, 0])

    assert beyond(0.3, 0.7) == pytest.approx(0.3 - 0.6)
    assert beyond(0.3, 0.3) == pytest.approx(0.3 - 0.1)
    assert beyond(1.0, 0.9) == pytest.approx(0.0)
    assert beyond(0.3, 0.95) == pytest.approx(0.3 - 1.0), "more accurate than all: against the most accurate"
    assert beyond(0.3, 0.05) == pytest.approx(0.3), "less accurate than all: against the least accurate"
    bent = np.array([[[0.1], [0.8], [0.6]]])
    assert study_statistics.beyond_line(np.array([[0.3]]), np.array([[0.7]]), attacks, bent)[0, 0] == pytest.approx(
        0.3 - 0.6
    ), "of several places that of the largest scale"


def test_verdicts_are_those_of_known_truth() -> None:
    """At an accuracy of .8 the line's attack success is .6."""
    bases = ("one", "two", "three")
    runs = [_made(base, "base model", 0, 0.0, 0.1) for base in bases]
    scaled = []
    truths = {"ProCon^s": 0.3, "SDP": 0.6, "random direction": 0.85}
    for base in bases:
        for seed in (0, 1, 2):
            line = _line(base, seed)
            runs.append(line[-1])
            scaled += line[:-1]
            runs += [_made(base, arm, seed, attack, 0.8) for arm, attack in truths.items()]
    for arm, attack in truths.items():
        found = study_tables.beyond(runs, scaled, arm, PLAIN)
        assert found is not None
        assert found.mean == pytest.approx(attack - 0.6, abs=0.06)
        assert found.low < attack - 0.6 < found.high
    rows = study_tables.against_scaled(runs, scaled)
    assert f"ProCon^s beats scaled {PLAIN} |" in rows
    assert f"SDP cannot be told from scaled {PLAIN} |" in rows
    assert f"random direction loses to scaled {PLAIN} |" in rows
    assert PLAIN + SAFETY not in rows.split("\n")[-1].rsplit("|", 2)[-2], "there is no such line"


def test_an_interval_of_such_a_difference_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for draw in range(60):
        generator = np.random.default_rng(draw)
        rates = np.array([[0.0, 0.1], [0.2, 0.5], [0.6, 0.8], [1.0, 0.9]])
        harmful, task = (generator.random((9, 4, 200)) < rates[:, place][None, :, None] for place in (0, 1))
        attack, accuracy = generator.random((9, 200)) < 0.4, generator.random((9, 200)) < 0.8
        found = study_statistics.against_line(attack, accuracy, harmful, task, ["a"] * 9, draw, draws=400)
        held += found.low <= -0.2 <= found.high
    assert held >= 54


def test_a_line_needs_its_trained_and_a_scaled_model() -> None:
    line = [_made("one", "base model", 0, 0.0, 0.1), *_line("one", 0)]
    assert [run.scale for run in line_of(line, PLAIN, "one", 0)] == [0.0, 0.25, 0.5, 1.0]
    assert line_of(line[:-1], PLAIN, "one", 0) == []
    assert line_of([line[0], line[-1]], PLAIN, "one", 0) == []
    assert line_of(line, PLAIN, "one", 1) == []


def test_tables_say_what_the_runs_say() -> None:
    runs = [_run(base, arm, seed, 8 + 4 * seed) for base in ("one", "two") for arm in ARMS for seed in (0, 1)]
    runs += [_run(base, "base model", 0, 2) for base in ("one", "two")]
    content = study.text(runs, study.notes_on(runs, ["two-7 (failed)"]))
    assert f"{len(ARMS) * 4} fine-tuning runs of one, two" in content
    assert "two-7 (failed)" in content
    # 8 and 12 of 40: a quarter.
    assert f"| {PLAIN}{SAFETY} | 4 | 0.250 [" in content
    assert "| inside an arm |" in content
    assert len(of_arm(runs, PLAIN)) == 4


def test_tables_replace_only_what_stands_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "study.md"
    page.write_text(f"before\n{study.BEGIN}\nold\n{study.END}\nafter\n")
    study.put(page, "new")
    study.put(page, "newer")
    assert page.read_text() == f"before\n{study.BEGIN}\nnewer\n{study.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="no marks"):
        study.put(page, "new")
