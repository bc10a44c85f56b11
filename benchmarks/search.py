"""Replay the recorded factorial: steps that searchers spend, with and without pruning, until they have the front.

    python benchmarks/search.py            # 50 seeds; writes benchmarks/results/search.json and search.png
    python benchmarks/search.py --seeds 5 --table other.parquet --out somewhere

A second table, of another base model, says what is left of the gain where nothing was chosen by it. Nothing is
trained. Two slots work at once, and a trial's measurements arrive when its steps are done, so that searcher
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
LEVELS = (0.9, 0.95, 0.98, ENOUGH)
PRUNED, FORKS, SCALES = "pruning", "forks", "scales"
"""Trials are stopped at rungs; begin where an earlier one that trains alike has been, and forks are tried; are measured
scaled back too."""
EVERYTHING = f"{PRUNED} + {FORKS} + {SCALES}"
"""What the product does."""
POINTS = 50
PROCESSES = 2
TABLE: Table
"""Of this process."""


def variants(table: Table) -> list[tuple[str, str]]:
    """Proposer, and what stops trials, makes them cheaper or gets more out of them (empty: nothing)."""
    ours = [(name, stop) for name in PRODUCT for stop in ("", PRUNED)]
    forked = [("tpe", FORKS), ("tpe", f"{PRUNED} + {FORKS}"), ("gp", f"{PRUNED} + {FORKS}")]
    scaled = [("random", SCALES), ("tpe", SCALES), ("tpe", EVERYTHING), ("gp", EVERYTHING)]
    return [*ours, *forked, *(scaled if table.scales else ()), (RAY, ""), (RAY, "ASHA"), (SEER, "")]


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
    if PRUNED in stop:
        rungs = pruned_by(TABLE, PRUNING)
    elif stop == "ASHA":
        rungs = stopped_by_asha(TABLE, *ASHA)
    forks = FORKS in stop
    search = proposer(name, TABLE, seed, forks=forks)
    return (name, stop), replay(TABLE, search, rungs, forks=forks, scales=SCALES in stop)


def summary(replays: Sequence[Replay], grid: np.ndarray) -> dict[str, Any]:
    """Medians over seeds; a level that most seeds never reach, since pruning lost a cell it needs, is null."""
    steps = {f"{level:.0%}": float(np.median([each.steps_to(level) for each in replays])) for level in LEVELS}
    prices = {f"{level:.0%}": float(np.median([each.price_to(level) for each in replays])) for level in LEVELS}
    shares = np.array([shares_at(each.curve, grid) for each in replays])
    low, middle, high = np.percentile(shares, [25, 50, 75], axis=0)
    ended = [len(each.pruned) + len(each.finished) for each in replays]
    return {
        "median_steps_to": {level: found if np.isfinite(found) else None for level, found in steps.items()},
        "median_price_to": {level: found if np.isfinite(found) else None for level, found in prices.items()},
        "seeds": len(replays),
        "seeds_that_reached_99pct": sum(each.steps_to(ENOUGH) < np.inf for each in replays),
        "scaled_models": round(float(np.mean([len(each.scaled) for each in replays])), 1),
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
            if (" + pruning" in name or " + ASHA" in name) == stopped:
                color = f"C{[*PRODUCT, RAY, SEER].index(name.split(' + ')[0])}"
                style = ":" if SCALES in name else "--" if FORKS in name else "-"
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


def measured(path: Path, seeds: int, gp_seeds: int) -> tuple[dict[str, Any], np.ndarray]:
    """Replays of one table, and the steps at which their curves are given; prints a line a variant."""
    table = Table.read(path)
    counts = {one: min(seeds, gp_seeds) if one[0] == "gp" else seeds for one in variants(table)}
    tasks = [(seed, variant) for variant, count in counts.items() for seed in range(count)]
    found: dict[tuple[str, str], list[Replay]] = {variant: [] for variant, count in counts.items() if count}
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, initializer=prepare, initargs=(path,)) as pool:
        for variant, done in pool.imap_unordered(run, tasks):
            found[variant].append(done)
    grid = np.linspace(0, table.steps, POINTS + 1)
    curves = {label(variant): summary(replays, grid) for variant, replays in found.items()}
    document: dict[str, Any] = {
        f"{what}_over_random_at_{level:.0%}_hypervolume".replace("%", "pct"): over_random(curves, what, f"{level:.0%}")
        for what in ("steps", "price")
        for level in LEVELS
    }
    if table.scales:
        every = [(row, scale) for row in range(len(table.rows)) for scale in table.scales]
        document |= {
            "price_of_a_look_in_steps": round(table.look, 2),
            "price_of_measuring_in_steps": round(table.measuring, 2),
            "hypervolume_with_all_scaled_models_over_that_without": round(
                table.share(range(len(table.rows)), every), 4
            ),
        }
    print(f"{path.name}: {len(table.rows)} trials, base model {table.rows[0]['organism']}")
    print(f"{'median steps to':28}" + "".join(f"{level:>9.0%}" for level in LEVELS) + "  seeds at 99 %  pruned  scaled")
    for name, curve in curves.items():
        steps = curve["median_steps_to"].values()
        cells = "".join(f"{'never' if found is None else format(found, '.0f'):>9}" for found in steps)
        reached = f"{curve['seeds_that_reached_99pct']} of {curve['seeds']}"
        print(f"{name:28}{cells}{reached:>15}{curve['pruned_share']:>8.0%}{curve['scaled_models']:>8.1f}")
    print(*(f"{name}: {value}" for name, value in document.items()), sep="\n", flush=True)
    return {**document, "steps": grid.tolist(), "curves": curves}, grid


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, default=RESULTS / "factorial.parquet")
    parser.add_argument("--holdout", type=Path, default=RESULTS / "holdout.parquet", help="that nothing was chosen on")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument(
        "--gp-seeds", type=int, default=0, help="of the Gaussian process: minutes each, so none by default"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of search.json and search.png")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    document, grid = measured(options.table, options.seeds, options.gp_seeds)
    holdout, _ = measured(options.holdout, options.seeds, gp_seeds=0)
    words = f"python benchmarks/search.py --seeds {options.seeds} --gp-seeds {options.gp_seeds}"
    command = {"command": words, "seeds": options.seeds}
    document = {**command, "pruning": PRUNING.model_dump(), **document, "holdout": holdout}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "search.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    draw(document["curves"], grid, options.out / "search.png")


def over_random(curves: dict[str, dict[str, Any]], what: str, level: str) -> float | None:
    """Median steps, or price, of the default search over random's with finals only; none where either never got there.

    Steps hold the price of scaled models and no other measuring; the price holds that of rungs and ends as well.
    """
    default = next(name for name in (f"tpe + {EVERYTHING}", f"tpe + {PRUNED} + {FORKS}") if name in curves)
    ours, random = (curves[name][f"median_{what}_to"][level] for name in (default, "random"))
    return ours / random if ours is not None and random else None


if __name__ == "__main__":
    main()
