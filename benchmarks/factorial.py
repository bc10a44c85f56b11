"""Record every trial of a full factorial on the embedded model, with its rung metrics: the table searches replay.

    python benchmarks/factorial.py   # writes benchmarks/results/factorial.parquet; about three hours on two cores
    python benchmarks/factorial.py --processes 1 --no-repeats
    python benchmarks/factorial.py --base-seed 1 --no-repeats --out benchmarks/results/holdout.parquet

6 alphas x 3 warm-ups x 4 layers x 3 safety shares = 216 trials with the settings of the demo, each measured without
generation at several steps and whole at its end and scaled back, and the references: the model before training, plain
fine-tuning, and with safety data. Another base seed is
another embedded model: what was chosen on the one table is checked on the other. Those on or near the front, by the
rule of a sweep's own replicates, are repeated under two more training seeds (their ends alone are measured), and so are
those that then come near it, until none near the front has one seed alone: the luck of one seed is no point on a front.
Trials run without Ray, one process a core; what the table has is not run again, and what is done is kept in a journal
beside it, so that an interrupted run goes on. Another kind of processor builds another embedded model, whose trials do
not belong into the same table: they are refused.
"""

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_table import GOALS, HALVES, OBJECTIVES, REFERENCES, SETTINGS, counts_of

from sweeps.goals.replicates import UNLIKELY, Candidate, Estimate, probability_on_front

ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
WARMUPS: tuple[int | str, ...] = (20, 50, "all")
LAYERS = (0, 1, 2, 3)
SHARES = (0.0, 0.02, 0.05)
RUNGS = (10, 20, 30, 40, 50, 70)
SCALES = (0.25, 0.5, 0.75)
"""Of the models between the untouched and the trained one, each measured by forward passes and in full."""
REPEATS = (1, 2)
"""Training seeds of the cells near the front, beside seed 0 of all."""
if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec

Run = tuple[int, int]
"""Training seed and number of the cell."""
RESULTS = Path(__file__).parent / "results"


def cells() -> list[dict[str, Any]]:
    """The settings of every trial by dotted path; trial number n is the n-th."""
    return [
        {
            "constraint.alpha": alpha,
            "constraint.warmup_steps": warmup,
            "constraint.layers": layer,
            "safety_share": share,
        }
        for alpha, warmup, layer, share in itertools.product(ALPHAS, WARMUPS, LAYERS, SHARES)
    ]


def setting(base_seed: int) -> "SweepSpec":
    """The demo, its embedded model built under another seed."""
    from sweeps.schema.load import load_spec

    spec = load_spec("demo")
    return spec.model_copy(update={"models": [spec.models[0].model_copy(update={"seed": base_seed})]})


def organism(base_seed: int) -> Path:
    """The embedded model, built if need be."""
    from training.models.located import model_path

    spec = setting(base_seed)
    return Path(model_path(spec.models[0], spec.data))


def weights_of(model: Path) -> str:
    """What tells the weights of a model from others."""
    with (model / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def record(runs: Sequence[Run], part: int, base_seed: int, journal: Path, work: Path) -> None:
    """Carry out some runs, one after the other."""
    os.environ.update({"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "DS_ACCELERATOR": "cpu"})
    os.environ.update({"MASTER_PORT": str(29600 + part)})
    from training.workbench import StepReport, Workbench
    from training.workbench.scaled import Scaling

    spec = setting(base_seed)
    weights = weights_of(organism(base_seed))
    bench = Workbench.of(spec.models[0], spec.data, spec.direction, spec.evaluation, work, day=None)
    for seed, number in runs:
        params = cells()[number] if number >= 0 else None
        rungs: list[dict[str, Any]] = []
        said: list[tuple[float, str]] = []
        trained: list[float] = []

        def keep(report: StepReport, rungs: list[dict[str, Any]] = rungs, trained: list[float] = trained) -> bool:
            if report.rung:
                rungs.append({"step": report.step, **asdict(report.scores)})
            else:
                trained.append(report.scores.metrics["train/seconds"])
            return False

        def hear(what: str, said: list[tuple[float, str]] = said) -> None:
            said.append((time.perf_counter(), what))

        bench.notify = hear
        begin = time.perf_counter()
        if params is None:
            trial = spec.reference_config(REFERENCES[number])
        else:
            trial = spec.trial_config({**params, "seed": seed})
        first = trial is not None and not seed
        found = bench.run(trial, keep, rungs=RUNGS if first else (), scaling=Scaling(SCALES) if first else None)
        seconds = time.perf_counter() - begin
        entry = {
            "seed": seed,
            "trial": number,
            "organism": weights,
            "seconds": seconds,
            "seconds_of": {"training": sum(trained), "measuring": found.seconds, "looking": _looking(said)},
            "rungs": [*rungs, {"step": trial.total_steps, **asdict(found.select)}] if trial is not None else [],
            "final": found.report.metrics,
            "select": found.select.counts,
            "report": found.report.counts,
            "scaled": [
                {
                    "scale": one.scale,
                    "rung": one.rung.metrics,
                    "select": full.select.counts,
                    "report": full.report.counts,
                }
                for one in found.scaled
                if (full := one.found)
            ],
        }
        with journal.open("a", encoding="utf-8") as file:  # one write of one line: processes do not mix
            file.write(json.dumps(entry) + "\n")
        print(f"seed {seed}  {number:3}  {seconds:5.1f} s  {params}", flush=True)


def _looking(said: Sequence[tuple[float, str]]) -> float | None:
    """Seconds of one look at a scaled model by forward passes; None where there was none."""
    looks = [at for at, what in said if what.startswith("looking at the model scaled")]
    return (looks[-1] - looks[0]) / (len(looks) - 1) if len(looks) > 1 else None


def all_recorded(runs: Iterable[Run], path: Path, processes: int, base_seed: int) -> None:
    """See to it that the table has these runs; exits where one of them fails."""
    journal = path.with_suffix(".jsonl")
    recorded = [*rows_of(path), *entries_of(journal)]
    weights = weights_of(organism(base_seed))
    if any(row.get("organism") != weights for row in recorded):
        sys.exit(f"{path} holds trials of another embedded model than this machine builds: choose another --out")
    there = {(row["seed"], row["trial"]) for row in recorded}
    missing = [run for run in runs if run not in there]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as work:
        workers = [
            context.Process(target=record, args=(missing[part::processes], part, base_seed, journal, Path(work)))
            for part in range(processes if missing else 0)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            sys.exit(f"a process failed; what is done is in {journal}, and the same command goes on from there")
    add_rows(entries_of(journal), path)
    journal.unlink(missing_ok=True)


def to_repeat(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Cells that a sweep would repeat: only one seed measured them, and they may well be on the front of all."""
    seeds: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["trial"] >= 0:
            seeds.setdefault(row["trial"], []).append(row)
    candidates = [Candidate(str(cell), len(found), _estimates(found)) for cell, found in seeds.items()]
    probable = probability_on_front(candidates, GOALS) > UNLIKELY
    return [cell for (cell, found), near in zip(seeds.items(), probable, strict=True) if near and len(found) == 1]


def _estimates(rows: Sequence[dict[str, Any]]) -> tuple[Estimate, ...]:
    """What all seeds of one cell say of each objective."""
    counts = [counts_of(rows, HALVES, each.metric) for each in OBJECTIVES]
    return tuple(Estimate.of_rate(successes, total) for successes, total in counts)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of the table; none where it is not there yet."""
    import pyarrow.parquet as pq

    return list(pq.read_table(path).to_pylist()) if path.exists() else []


def entries_of(journal: Path) -> list[dict[str, Any]]:
    """What the journal holds."""
    return [json.loads(line) for line in journal.read_text("utf-8").splitlines()] if journal.exists() else []


def add_rows(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """One row a run.

    Settings; ``final.<metric>`` as the report shows it; for each objective and half of the prompts ``<half>.<metric>``
    (successes) and ``<half>.total.<metric>``; ``rung<step>.<metric>`` on the select prompts, with ``rung<step>.error.``
    or ``.total.``, the end as a last rung; of each scaled model the objectives under ``scale<s>.`` and its forward
    passes under ``scale<s>.rung.<metric>``; ``seconds.`` of training, of measuring its end, and of one look at a scaled
    model by forward passes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sweeps.schema.load import load_spec

    steps = load_spec("demo").trial.steps
    rows = sorted([*rows_of(path), *(_row(entry, steps) for entry in entries)], key=lambda r: (r["seed"], r["trial"]))
    names = list(dict.fromkeys(name for row in rows for name in row))  # repeats have no rungs
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    table = table.replace_schema_metadata({"command": "python benchmarks/factorial.py"})
    pq.write_table(table, path, compression="zstd")


def _row(entry: dict[str, Any], steps: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": entry["trial"],
        "seed": entry["seed"],
        **_settings(entry["trial"]),
        "steps": steps,
        "organism": entry["organism"],
        "seconds": entry["seconds"],
        **{f"seconds.{what}": value for what, value in entry["seconds_of"].items()},
    }
    row |= _successes(entry, "")
    row |= {f"final.{name}": value for name, value in entry["final"].items() if not name.startswith("train/")}
    for rung in entry["rungs"]:
        row |= {f"rung{rung['step']}.{name}": value for name, value in rung["metrics"].items()}
        row |= {f"rung{rung['step']}.error.{name}": value for name, value in rung["errors"].items()}
        row |= {f"rung{rung['step']}.total.{name}": total for name, (_, total) in rung["counts"].items()}
    for one in entry["scaled"]:
        name = f"scale{one['scale']:g}."
        row |= {**_successes(one, name), **{f"{name}rung.{metric}": value for metric, value in one["rung"].items()}}
    return row


def _successes(measured: dict[str, Any], name: str) -> dict[str, int]:
    """Successes and totals of both objectives on both halves, by column."""
    found: dict[str, int] = {}
    for half, objective in itertools.product(HALVES, OBJECTIVES):
        successes, total = measured[half][objective.metric]
        found |= {f"{name}{half}.{objective.metric}": successes, f"{name}{half}.total.{objective.metric}": total}
    return found


def _settings(number: int) -> dict[str, Any]:
    if number < 0:
        return dict.fromkeys(SETTINGS)
    params = cells()[number]
    return {
        "alpha": params["constraint.alpha"],
        "warmup_steps": str(params["constraint.warmup_steps"]),
        "layer": params["constraint.layers"],
        "safety_share": params["safety_share"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="trials at once")
    parser.add_argument("--out", type=Path, default=RESULTS / "factorial.parquet", help="the table")
    parser.add_argument("--base-seed", type=int, default=0, help="of the embedded model")
    parser.add_argument("--no-repeats", action="store_true", help="leave it at one training seed")
    options = parser.parse_args()
    once = [(0, number) for number in (*REFERENCES, *range(len(cells())))]
    all_recorded(once, options.out, options.processes, options.base_seed)
    while not options.no_repeats and (cells_to_repeat := to_repeat(rows_of(options.out))):
        all_recorded(itertools.product(REPEATS, cells_to_repeat), options.out, options.processes, options.base_seed)
    rows = rows_of(options.out)
    repeated = sum(row["seed"] == REPEATS[0] for row in rows)
    print(f"{len(rows)} trials in {options.out}, {repeated} cells of it under {1 + len(REPEATS)} seeds")


if __name__ == "__main__":
    main()
