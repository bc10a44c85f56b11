"""Replay the recorded factorial: steps that searchers spend, with and without pruning, until they have the front.

    python benchmarks/search.py            # 50 seeds; writes benchmarks/results/search.json and search.png
    python benchmarks/search.py --seeds 5 --table other.parquet --out somewhere

Nothing is trained. Two slots work at once, and a trial's measurements arrive when its steps are done, so that searcher
and pruning see what they would see live. Every searcher proposes cells of the table, none twice. The base model, which
a sweep measures before it searches, counts as known.
"""

import argparse
import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from search_proposers import GRID, RAY, SEER, proposer
from search_replay import ENOUGH, Replay, Rungs, pruned_by, replay, stopped_by_asha
from search_table import Table

from sweeps.goals.pruning import PruningConfig

RESULTS = Path(__file__).parent / "results"
PRUNING = PruningConfig()
ASHA = (40, "safety/refusal_log_odds", "max")
"""One rung, one metric: Ray's scheduler knows no second."""
PRODUCT = (GRID, "random", "tpe", "nsga2", "gp")
GP_SEEDS = 25
"""Of the Gaussian process, whose every proposal takes half a second and more."""
LEVELS = (0.9, 0.95, 0.98, ENOUGH)
FORKS = "pruning + forks"
"""Trials begin where an earlier one that trains alike has been, and forks are tried: what the product does."""
POINTS = 50
PROCESSES = 2
TABLE: Table
"""Of this process."""


def variants() -> list[tuple[str, str]]:
    """Proposer, and what stops trials or makes them cheaper (empty: nothing)."""
    ours = [(name, stop) for name in PRODUCT for stop in ("", "pruning")]
    return [*ours, ("tpe", FORKS), ("gp", FORKS), (RAY, ""), (RAY, "ASHA"), (SEER, "")]


def seeds_of(variant: tuple[str, str], seeds: int) -> int:
    """How many seeds a variant is replayed under."""
    return min(seeds, GP_SEEDS) if variant[0] == "gp" else seeds


def label(variant: tuple[str, str]) -> str:
    return " + ".join(filter(None, variant))


def prepare(path: Path) -> None:
    """What each process needs."""
    global TABLE
    os.nice(5)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.disable(logging.WARNING)  # OptunaSearch says of every stopped trial that its objectives are missing
    warnings.filterwarnings("ignore")
    TABLE = Table.read(path)


def run(task: tuple[int, tuple[str, str]]) -> tuple[tuple[str, str], Replay]:
    """One seed of one variant."""
    seed, (name, stop) = task
    rungs: Rungs | None = None
    if stop in ("pruning", FORKS):
        rungs = pruned_by(TABLE, PRUNING)
    elif stop:
        rungs = stopped_by_asha(TABLE, *ASHA)
    forks = stop == FORKS
    return (name, stop), replay(TABLE, proposer(name, TABLE, seed, forks=forks), rungs, forks=forks)


def summary(replays: Sequence[Replay], grid: np.ndarray) -> dict[str, Any]:
    """Medians over seeds; a level that most seeds never reach, since pruning lost a cell it needs, is null."""
    steps = {f"{level:.0%}": float(np.median([each.steps_to(level) for each in replays])) for level in LEVELS}
    shares = np.array([shares_at(each.curve, grid) for each in replays])
    low, middle, high = np.percentile(shares, [25, 50, 75], axis=0)
    ended = [len(each.pruned) + len(each.finished) for each in replays]
    return {
        "median_steps_to": {level: found if np.isfinite(found) else None for level, found in steps.items()},
        "seeds": len(replays),
        "seeds_that_reached_99pct": sum(each.steps_to(ENOUGH) < np.inf for each in replays),
        "pruned_share": round(float(np.mean([len(r.pruned) / n for r, n in zip(replays, ended, strict=True)])), 3),
        "lower_quartile": low.round(4).tolist(),
        "median": middle.round(4).tolist(),
        "upper_quartile": high.round(4).tolist(),
    }


def shares_at(curve: Sequence[tuple[int, float]], grid: np.ndarray) -> np.ndarray:
    """Share of the hypervolume at each number of steps: 0 before the first trial ends, the last one after the end."""
    steps, shares = np.array(curve).T
    return np.append(0.0, shares)[np.searchsorted(steps, grid, side="right")]


def draw(curves: dict[str, dict[str, Any]], grid: np.ndarray, path: Path) -> None:
    """One panel without early stopping and one with it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = FigureCanvasAgg(figure).figure.subplots(1, 2, sharey=True)
    reached = [steps for curve in curves.values() if (steps := curve["median_steps_to"][f"{ENOUGH:.0%}"])]
    end = 1.1 * max(reached, default=grid[-1])
    for panel, stopped in zip(panels, (False, True), strict=True):
        for name, curve in curves.items():
            if (" + " in name) == stopped:
                color = f"C{[*PRODUCT, RAY, SEER].index(name.split(' + ')[0])}"
                style = "--" if FORKS in name else "-"
                panel.plot(grid, curve["median"], color=color, ls=style, label=name)
                panel.fill_between(
                    grid, curve["lower_quartile"], curve["upper_quartile"], color=color, alpha=0.12, lw=0
                )
        panel.axhline(ENOUGH, color="grey", lw=0.8, ls=":")
        panel.set(xlabel="training steps spent", ylim=(0.8, 1.005), xlim=(0, end))
        panel.legend(loc="lower right", frameon=False)
    panels[0].set(title="every trial finishes", ylabel="share of the table's hypervolume")
    panels[1].set(title="trials are stopped at rungs")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, default=RESULTS / "factorial.parquet")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of search.json and search.png")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    tasks = [(seed, variant) for variant in variants() for seed in range(seeds_of(variant, options.seeds))]
    found: dict[tuple[str, str], list[Replay]] = {variant: [] for variant in variants()}
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, initializer=prepare, initargs=(options.table,)) as pool:
        for variant, done in pool.imap_unordered(run, tasks):
            found[variant].append(done)
    grid = np.linspace(0, Table.read(options.table).steps, POINTS + 1)
    curves = {label(variant): summary(replays, grid) for variant, replays in found.items()}
    print(f"{'median steps to':24}" + "".join(f"{level:>9.0%}" for level in LEVELS) + "  seeds at 99 %  pruned")
    for name, curve in curves.items():
        cells = "".join(f"{'never' if steps is None else steps:>9}" for steps in curve["median_steps_to"].values())
        reached = f"{curve['seeds_that_reached_99pct']} of {curve['seeds']}"
        print(f"{name:24}{cells}{reached:>15}{curve['pruned_share']:>8.0%}")
    ratios = {level: over_random(curves, level) for level in curves["random"]["median_steps_to"]}
    document = {
        "command": f"python benchmarks/search.py --seeds {options.seeds}",
        "seeds": options.seeds,
        "pruning": PRUNING.model_dump(),
        "steps_over_random_at_99pct_hypervolume": ratios["99%"],
        "steps_over_random": ratios,
        "steps": grid.tolist(),
        "curves": curves,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "search.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    draw(curves, grid, options.out / "search.png")
    print(f"tpe with pruning and forks over random without, in steps: {ratios}")


def over_random(curves: dict[str, dict[str, Any]], level: str) -> float | None:
    """Median steps of the default search over random's without pruning; none where either never gets there."""
    ours, random = (curves[name]["median_steps_to"][level] for name in (f"tpe + {FORKS}", "random"))
    return ours / random if ours is not None and random else None


if __name__ == "__main__":
    main()
