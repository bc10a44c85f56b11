"""What a training step costs: the constraint against plain fine-tuning, and ours against TRL's ``SFTTrainer``.

    make bench-train        # prints a table and writes benchmarks/results/train.json

Every ratio is formed within one run: the sides take turns, repetition by repetition, and medians over steps are taken.
On the CPU everything runs on one thread and the clock is this process's CPU time, which the load of other processes
leaves nearly alone; on a GPU it is the wall clock. Peak memory is that of a process of its own for each side.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results" / "train.json"
ALPHA = 0.1


def measure(case: Any, repetitions: int) -> tuple[float, float, dict[str, float]]:
    """Step time of ProCon over plain, tokens per second over TRL's, and the figures behind them."""
    from train_sides import ours, projections_of, trl

    references = projections_of(case)
    constrained, plain, others = [], [], []
    for repetition in range(repetitions):
        # Whichever side comes first, it does not always.
        pair = [(constrained, ALPHA, references), (plain, 0.0, None)]
        for found, alpha, compared in pair[:: 1 if repetition % 2 else -1]:
            found.append(ours(case, alpha, compared))
        others.append(trl(case))
    # Both train on the same samples in the same step, so their steps are compared one by one.
    paired = [
        held / free
        for with_it, without in zip(constrained, plain, strict=True)
        for held, free in zip(with_it.seconds, without.seconds, strict=True)
    ]
    rates = {
        "procon": median(rate for one in constrained for rate in one.tokens_per_second),
        "plain": median(rate for one in plain for rate in one.tokens_per_second),
        "trl": median(rate for one in others for rate in one.tokens_per_second),
    }
    return median(paired), rates["plain"] / rates["trl"], rates


def peak_bytes(case: Any, side: str, repetitions: int) -> float:
    """Peak memory of a process that trains the case on one side: the accelerator's, else the resident set.

    The median over processes: how a C allocator grows its arenas differs between runs by a tenth.
    """
    command = [sys.executable, __file__, "--peak", case.name, side]
    # A process group of its own: this process already listens at its own group's port.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MASTER_")}
    found = []
    for _ in range(repetitions):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        found.append(int(done.stdout.split()[-1]))
    return median(found)


def print_peak(case: Any, side: str) -> None:
    """The child of :func:`peak_bytes`: ours with the constraint, since it shall cost no memory either."""
    import torch
    from train_sides import ours, projections_of, trl

    if side == "ours":
        ours(case, ALPHA, projections_of(case))
    else:
        trl(case)
    print(torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_resident_bytes())


def peak_resident_bytes() -> int:
    """Peak resident set of this process; ``ru_maxrss`` would begin at that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def reference_build(repetitions: int) -> float:
    """Time of a reference build, files included, in forward passes of the model over the same samples."""
    import torch
    from train_cases import direction_of, load
    from train_sides import clock

    from training.config import ProConConstraint
    from training.constraints import build_constraint
    from training.constraints.references.passes import passes
    from training.constraints.references.store import ReferenceStore

    model, samples = load("organism")
    device = next(model.parameters()).device
    constraint = build_constraint(ProConConstraint(alpha=ALPHA), direction_of(model), device)
    ratios = []
    for _ in range(repetitions):
        begin = clock()
        with torch.no_grad():
            for group in passes(samples.lengths):
                model(input_ids=samples.collate(group).to(device).input_ids, use_cache=False)
        middle = clock()
        with tempfile.TemporaryDirectory() as folder:
            ReferenceStore(Path(folder)).of(constraint, model, "benchmark", samples, "fp32")
        ratios.append((clock() - middle) / (middle - begin))
    return median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="of every side of every case")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "SIDE"), help="train one side and print its peak memory")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

    import torch
    from train_cases import CPU_CASES, GPU_CASES
    from train_sides import utilisation

    from training.distributed.process import start_process

    logging.disable(logging.WARNING)
    start_process()
    cases = CPU_CASES + (GPU_CASES if torch.cuda.is_available() else [])
    if options.peak:
        name, side = options.peak
        return print_peak(next(case for case in cases if case.name == name), side)

    rows: dict[str, dict[str, Any]] = {
        "procon_over_plain": {},
        "tokens_per_second_over_trl": {},
        "peak_memory_over_trl": {},
    }
    ratios = f"{'ProCon/plain':>13}{'ours/TRL':>10}{'memory/TRL':>12}"
    print(f"{'case':<22}{ratios}{'tokens/s':>11}{'TRL':>10}{'MFU':>7}   our peak")
    for case in cases:
        over_plain, over_trl, rates = measure(case, options.repetitions)
        ours, theirs = (peak_bytes(case, side, options.repetitions) for side in ("ours", "trl"))
        for column, value in zip(rows, (over_plain, over_trl, ours / theirs), strict=True):
            rows[column][case.name] = round(value, 4)
        share = utilisation(case, rates["procon"])
        print(
            f"{case.name:<22}{over_plain:>13.3f}{over_trl:>10.2f}{ours / theirs:>12.2f}{rates['procon']:>11,.0f}"
            f"{rates['trl']:>10,.0f}{f'{share:.0%}' if share else '':>7}   {ours / 2**20:,.0f} MiB",
            flush=True,
        )
    built = reference_build(options.repetitions)
    print(f"reference build: {built:.2f} forward passes over the data")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**rows, "reference_build_forward_passes": round(built, 4)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
