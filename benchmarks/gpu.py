"""Everything that needs a GPU, checked and measured in one go, the most informative first.

    make bench-gpu                                            # ten minutes; benchmarks/results/gpu.json
    python benchmarks/gpu.py --only environment lora-8b --out /tmp/gpu.json
    python benchmarks/gpu.py --device cpu --tiny              # every stage at toy size, to find typos without a GPU

Each stage runs in a process of its own with a limit, and its result is in the file before the next one begins: a crash,
a stage that hangs or a machine that is taken away costs one stage. Weights are random and made on the device: nothing
is downloaded. Called again with ``--resume``, it does what is not done yet.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "gpu.json"
SLOWER = 5
"""How many times the limit of a stage is on a CPU: libraries alone take half a minute to import on a busy one."""
MARK = "RESULT "
"""What the line of a stage's output begins with that holds its result, as JSON."""


@dataclass(frozen=True)
class Stage:
    """One measurement."""

    name: str
    limit: int
    """Seconds that it may take."""
    what: str


STAGES = (
    Stage("environment", 60, "versions, devices, what is installed"),
    Stage("lora-1b", 90, "LoRA in bf16: tokens/s, MFU, ProCon over plain, memory over plan"),
    Stage("lora-8b", 120, "the same at the shape of Llama-3-8B"),
    Stage("generation", 90, "tokens/s of greedy answers over transformers' generate"),
    Stage("full-1b", 90, "full tuning"),
    Stage("packing", 120, "packed rows with SDPA, and with flash attention where it is installed"),
    Stage("zero", 120, "ZeRO 0 to 3 on one device: the same losses, memory over plan"),
    Stage("qlora", 90, "4-bit weights, where bitsandbytes is installed"),
    Stage("full-8b", 120, "full tuning at the shape of an 8B model, with as many layers as the plan says fit"),
    Stage("tests", 180, "pytest -m gpu"),
)


def run_apart(command: Sequence[str], limit: float) -> dict[str, Any]:
    """Run ``command`` in a process group of its own, and return what it printed behind :data:`MARK`.

    Args:
        command: of a stage.
        limit: seconds, after which the group is killed.

    Returns:
        ``status`` (done, failed or timed out), ``seconds``, and ``result``, or ``error``, the end of what was printed.
    """
    begin = time.monotonic()
    own = {name: value for name, value in os.environ.items() if not name.startswith("MASTER_")}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), own.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=own
    )
    status = "failed"
    try:
        printed, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        status = "timed out"
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
    found: dict[str, Any] = {"status": status, "seconds": round(time.monotonic() - begin, 1)}
    lines = [line for line in printed.splitlines() if line.startswith(MARK)]
    if lines:  # of a stage that was cut off, what it had by then
        found["result"] = json.loads(lines[-1].removeprefix(MARK))
    if process.returncode == 0 and lines:
        found["status"] = "done"
    else:
        found["error"] = printed[-3000:]
    return found


def write(file: Path, results: dict[str, Any]) -> None:
    """Put ``results`` into ``file``, which is whole at any moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=2) + "\n")
    partial.replace(file)


def main(arguments: Sequence[str] | None = None) -> None:
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=names, help="stages to run; left out: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy models, to try the stages themselves")
    parser.add_argument("--resume", action="store_true", help="leave out the stages that --out says are done")
    parser.add_argument("--minutes", type=float, default=12.0, help="no stage begins after so many")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {"tiny": options.tiny, "device": options.device, "stages": {}}
    if options.resume and options.out.is_file():
        results = json.loads(options.out.read_text())
    begin = time.monotonic()
    for stage in STAGES:
        before = results["stages"].get(stage.name, {})
        if stage.name not in (options.only or names) or before.get("status") == "done":
            continue
        left = options.minutes * 60 - (time.monotonic() - begin)
        if left <= 0:
            results["stages"][stage.name] = {"status": "left out", "error": "no time was left"}
        else:
            command = [sys.executable, str(HERE / "gpu_stages.py"), stage.name, "--device", options.device]
            limit = stage.limit * (1 if options.device == "cuda" else SLOWER)
            found = run_apart([*command, *(["--tiny"] if options.tiny else [])], min(limit, left + 30))
            results["stages"][stage.name] = found
        write(options.out, results)
        shown = results["stages"][stage.name]
        print(f"{stage.name:<14}{shown['status']:<11}{shown.get('seconds', 0):>6} s  {stage.what}", flush=True)
        print(f"    {json.dumps(shown.get('result') or (shown.get('error') or '')[-300:])}", flush=True)


if __name__ == "__main__":
    main()
