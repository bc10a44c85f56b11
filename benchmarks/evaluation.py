"""What a measurement costs: two ranks against one, and our greedy decoding against transformers' ``generate``.

    make bench-evaluation        # prints a table and writes benchmarks/results/evaluation.json

The embedded model is measured as the demo measures a trial. The two sides take turns, repetition by repetition, and
medians are taken: only ratios mean something, and only within one run. Two ranks need two quiet cores; beside the wall
clock stands the CPU time of the busiest rank, which other processes' load leaves nearly alone.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

TESTS = Path(__file__).parents[1] / "tests" / "training"
sys.path[:0] = [str(TESTS)]
RESULTS = Path(__file__).parent / "results" / "evaluation.json"
_benches: dict[str, Any] = {}


def bench_in(directory: str) -> Any:
    """The demo's workbench, which a rank prepares once."""
    from sweeps.schema.load import load_spec
    from training.workbench import Workbench

    if directory not in _benches:
        logging.disable(logging.WARNING)
        spec = load_spec("demo")
        made = Workbench.of(spec.models[0], spec.data, spec.direction, spec.evaluation, Path(directory), day=None)
        made.prepare()
        _benches[directory] = made
    return _benches[directory]


def measurement(directory: str) -> dict[str, Any]:
    """One measurement of the untouched model: wall and CPU seconds of this rank, and what it found."""
    from training.distributed.ranks import barrier

    made = bench_in(directory)
    barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    found = made.run(None, lambda _report: False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "metrics": found.report.metrics, "answers": len(found.answers)}


def prompts_of(made: Any) -> list[list[int]]:
    """Token ids of every distinct prompt of the demo, longest first."""
    asked = dict.fromkeys(tuple(ids) for one in made.sets.asked for ids in one.token_ids)
    return sorted(map(list, asked), key=len, reverse=True)


def decoding(directory: str) -> dict[str, float]:
    """Seconds that all prompts take by our decoding and by ``generate``, in batches of the same prompts."""
    import torch

    from training.models.batching import pad
    from training.models.generation import end_token_ids, generate_tokens

    made = bench_in(directory)
    model, prompts, ends = made.model, prompts_of(made), end_token_ids(made.model, made.tokenizer)
    tokens, size = made.evaluation.max_new_tokens, made.evaluation.batch_size

    def ours() -> list[list[int]]:
        return generate_tokens(model, prompts, end_ids=ends, max_new_tokens=tokens, batch_size=size)

    def theirs() -> list[list[int]]:
        found: list[list[int]] = []
        for start in range(0, len(prompts), size):
            ids, mask = pad(prompts[start : start + size], padding_id=0, side="left", device=model.device)
            with torch.no_grad():
                rows = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=tokens,
                    do_sample=False,
                    eos_token_id=sorted(ends),
                    pad_token_id=0,
                )
            for row in rows[:, ids.shape[1] :].tolist():
                stop = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
                found.append(row[:stop])
        return found

    seconds, answers = {}, {}
    for name, side in (("ours", ours), ("theirs", theirs)):
        begin = time.process_time()
        answers[name] = side()
        seconds[name] = time.process_time() - begin
    assert answers["ours"] == answers["theirs"], "both must say the same, token for token"
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7, help="of every side")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ranks import Ranks

    sides = {count: Ranks(count) for count in (1, 2)}
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    decoded: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as directory:
        for ranks in sides.values():
            ranks.run(measurement, directory)  # warms up; one after the other, so that the direction is there
        for repetition in range(options.repetitions):
            for count in (1, 2)[:: 1 if repetition % 2 else -1]:
                every = sides[count].run(measurement, directory)
                assert all(one["metrics"] == every[0]["metrics"] for one in every)
                busiest = {clock: max(one[clock] for one in every) for clock in ("wall", "cpu")}
                found[count].append({**every[0], **busiest})
            decoded += sides[1].run(decoding, directory)
    for ranks in sides.values():
        ranks.end()
    report(found, decoded, options.out)


def report(found: dict[int, list[dict[str, Any]]], decoded: list[dict[str, float]], out: Path) -> None:
    """The table, and the same figures in a file."""
    ratios = {
        clock: median(one[clock] / two[clock] for one, two in zip(found[1], found[2], strict=True))
        for clock in ("wall", "cpu")
    }
    difference = max(
        abs(value - found[2][0]["metrics"][name]) / max(abs(value), 1e-3)
        for name, value in found[1][0]["metrics"].items()
        if value == value
    )
    print(f"{'measurement':<24}{'wall s':>9}{'CPU s of the busiest rank':>28}")
    for count, rows in found.items():
        wall, cpu = (median(one[clock] for one in rows) for clock in ("wall", "cpu"))
        print(f"{count} rank{'s' if count > 1 else '':<18}{wall:>9.2f}{cpu:>28.2f}")
    print(f"{'one over two':<24}{ratios['wall']:>9.2f}{ratios['cpu']:>28.2f}")
    print(f"{found[1][0]['answers']} answers; metrics differ by {difference:.1e} at most, relatively")
    ours, theirs = (median(one[side] for one in decoded) for side in ("ours", "theirs"))
    over = median(one["theirs"] / one["ours"] for one in decoded)
    print(f"decoding: {ours:.2f} s, generate of transformers: {theirs:.2f} s, {over:.2f} times as long")
    figures = {
        "two_ranks_over_one": round(ratios["wall"], 4),
        "two_ranks_over_one_cpu": round(ratios["cpu"], 4),
        "largest_relative_difference": difference,
        "decoding_over_generate": round(over, 4),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
