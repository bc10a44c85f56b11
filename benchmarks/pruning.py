"""What pruning saves and what it loses, by its settings: the default search, replayed on both recorded tables.

    python benchmarks/pruning.py             # 50 seeds; prints a table of each
    python benchmarks/pruning.py --search random

Settings are compared on the first table; the second, of another base model, is the check of what was chosen there.
See benchmarks/search.py for what a replay is.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from search import LEVELS, RESULTS, prepare
from search_proposers import proposer
from search_replay import ENOUGH, Replay, pruned_by, replay
from search_table import Table

from sweeps.goals.pruning import PruningConfig

SETTINGS: Mapping[str, PruningConfig | None] = {
    "none": None,
    "confidence 0.7": PruningConfig(confidence=0.7),
    "confidence 0.95": PruningConfig(confidence=0.95),
    "confidence 0.99": PruningConfig(confidence=0.99),
    "confidence 0.999": PruningConfig(confidence=0.999),
    "the rung at 70 % alone": PruningConfig(rungs=[0.7], confidence=0.95),
    "half of the trials go on": PruningConfig(reduction=2.0, confidence=0.95),
}
"""What a trial is stopped by; None lets every trial finish."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, default=RESULTS / "factorial.parquet")
    parser.add_argument("--holdout", type=Path, default=RESULTS / "holdout.parquet", help="that nothing was chosen on")
    parser.add_argument("--search", default="tpe", help="who proposes: tpe, random, nsga2")
    parser.add_argument("--seeds", type=int, default=50)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for path in (options.table, options.holdout):
        prepare(path)
        table = Table.read(path)
        print(f"\n{path.name}: base model {table.rows[0]['organism']}, {options.search}, {options.seeds} seeds")
        for scales in (False, True):
            head = "scaled models measured" if scales else "no scaled models"
            print(f"{head:26}" + "".join(f"{level:>8.0%}" for level in LEVELS) + "   ends at  seeds at 99 %  stopped")
            for name, pruning in SETTINGS.items():
                print(line(name, [run(table, options.search, seed, pruning, scales) for seed in range(options.seeds)]))


def run(table: Table, search: str, seed: int, pruning: PruningConfig | None, scales: bool) -> Replay:
    rungs = pruned_by(table, pruning) if pruning else None
    return replay(table, proposer(search, table, seed), rungs, forks=False, scales=scales)


def line(name: str, replays: Sequence[Replay]) -> str:
    """Medians of steps to each level, the share of hypervolume at the end, and how many trials were stopped."""
    steps = [float(np.median([each.steps_to(level) for each in replays])) for level in LEVELS]
    cells = "".join(f"{format(found, ',.0f') if np.isfinite(found) else 'never':>8}" for found in steps)
    end = float(np.mean([each.curve[-1][1] for each in replays]))
    reached = f"{sum(each.steps_to(ENOUGH) < np.inf for each in replays)} of {len(replays)}"
    stopped = float(np.mean([len(each.pruned) / (len(each.pruned) + len(each.finished)) for each in replays]))
    return f"{name:26}{cells}{end:>10.4f}{reached:>15}{stopped:>9.0%}"


if __name__ == "__main__":
    main()
