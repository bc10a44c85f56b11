"""What the orchestration costs: warm slots against a cold start per trial, a thousand trials, long journals.

    make bench-orchestrator                              # all parts, about fifteen minutes on two cores
    python benchmarks/orchestration.py --parts many journal

Parts: ``warm`` (a small demo on one warm slot, then the same trials with one ``TorchTrainer.fit()`` each), ``many``
(trials of slots that train nothing, MLflow on SQLite), ``journal`` (10,000 trials), ``startup`` (``procon --help``
and the import of the specification, in seconds of a core). Prints a table and writes
benchmarks/results/orchestrator.json.
"""

import argparse
import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "orchestrator.json"
HERE = Path(__file__).parent
WARM_OVERRIDES = (
    "trials=5",
    "trial.steps=50",
    "trial.log_every=1",
    "search.constraint.warmup_steps.values=[20,all]",
    "resources.max_concurrent=1",
    "pruning=null",
)


def warm_and_cold(work: Path) -> dict[str, float]:
    """Seconds per trial outside training and evaluation: on a warm slot, and with a Ray Train run of its own."""
    from orchestrator.record.journal import read_journal

    begin = time.perf_counter()
    command = [sys.executable, "-m", "orchestrator", "run", "demo", "--out", str(work / "warm/out")]
    for override in WARM_OVERRIDES:
        command += ["--set", override]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    warm_total = time.perf_counter() - begin
    events = read_journal(work / "warm/out/journal.jsonl")
    trials = [event for event in events if event["event"] == "trial_started"]
    busy = {trial["id"]: _busy(events, trial["id"]) for trial in trials}
    ended = {event["id"]: event["time"] for event in events if event["event"] == "trial_ended"}
    # The first trial, which loads everything, is left out.
    warm = (ended[trials[-1]["id"]] - ended[trials[0]["id"]] - sum(busy[t["id"]] for t in trials[1:])) / (
        len(trials) - 1
    )
    print(
        f"warm: {len(trials)} trials, {warm:.2f} s a trial outside training and evaluation, {warm_total:.0f} s in all"
    )
    outside, cold_total = [], 0.0
    spec = json.loads((work / "warm/out/sweep.json").read_text())["spec"]
    for number, trial in enumerate(trials[1:4]):
        begin = time.perf_counter()
        script = [sys.executable, str(HERE / "cold_trial.py"), str(work / f"cold-{number}")]
        job = json.dumps({"spec": spec, "trial": trial["trial"]})
        found = subprocess.run(script, input=job, check=True, capture_output=True, text=True)
        report = json.loads(found.stdout.splitlines()[-1])
        outside.append(report["fit_seconds"] - report["busy_seconds"])
        cold_total += report["fit_seconds"]
        print(f"cold: {trial['label']}, {outside[-1]:.2f} s outside training and evaluation", flush=True)
    cold = statistics.fmean(outside)
    gaps = _gaps(events)
    return {
        "warm_gap_seconds": statistics.median(gaps),
        "warm_seconds_outside": warm,
        "cold_seconds_outside": cold,
        "startup_cold_over_warm": cold / warm,
        "demo_cold_over_warm": cold_total / 3 * len(trials) / warm_total,
    }


def _busy(events: list[dict[str, Any]], trial: str) -> float:
    """Seconds in the training loop and in the final measurement."""
    own = [event for event in events if event.get("id") == trial]
    steps = sum(event["metrics"].get("train/seconds", 0.0) for event in own if event["event"] == "trial_reported")
    return steps + sum(e["metrics"].get("evaluation/seconds", 0.0) for e in own if e["event"] == "trial_ended")


def _gaps(events: list[dict[str, Any]]) -> list[float]:
    """Seconds from the last report of a trial to the first step of the next on the same slot."""
    starts: dict[str, float] = {}
    for event in events:
        if event["event"] == "trial_reported":
            starts.setdefault(event["id"], event["time"] - event["metrics"]["train/seconds"])
    ends = [(event["time"], event["id"]) for event in events if event["event"] == "trial_ended"]
    first_steps = sorted(starts.values())
    gaps = [min((step for step in first_steps if step > end), default=None) for end, _ in ends[:-1]]
    return [step - end for step, (end, _) in zip(gaps, ends[:-1], strict=True) if step is not None]


def many_trials(work: Path, count: int) -> dict[str, float]:
    """Milliseconds a trial, driver memory and MLflow's share with slots that train nothing."""
    import psutil
    from fake_slots import FakeSlots

    from orchestrator.driver.session import Session
    from orchestrator.driver.sweep import drive
    from orchestrator.terminal import Terminal
    from sweeps.schema.load import load_spec

    spec = load_spec("demo", [f"trials={count}", "searcher.sampler=random"])
    session = Session.new(spec, work / "many/out").open()
    process = psutil.Process()
    memory: dict[int, int] = {}
    ended = 0
    times: list[float] = []

    def append(event: str, _append: Any = session.journal.append, **fields: Any) -> Any:
        nonlocal ended
        if event == "trial_ended":
            ended += 1
            times.append(time.perf_counter())
            memory[ended] = process.memory_info().rss
        return _append(event, **fields)

    session.journal.append = append  # type: ignore[method-assign]
    with contextlib.redirect_stdout(io.StringIO()):
        drive(session, None, Terminal(file=io.StringIO()), FakeSlots)
    settled = min(100, count // 4)
    growth = (memory[len(memory)] - memory[settled]) / 2**20
    milliseconds = (times[-1] - times[settled - 1]) / (len(times) - settled) * 1e3
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "status", str(work / "many/out")], check=True, stdout=subprocess.DEVNULL
    )
    status = time.perf_counter() - begin
    print(
        f"many: {ended} trials, {milliseconds:.0f} ms a trial, driver grew by {growth:.0f} MiB, status {status:.2f} s"
    )
    return {
        "milliseconds_per_trial": milliseconds,
        "driver_growth_megabytes": growth,
        "mlflow_milliseconds_per_trial": _mirrored(work, min(count, 300)),
        "status_seconds": status,
    }


def _mirrored(work: Path, count: int) -> float:
    """Milliseconds MLflow needs for a trial: a journal given to a fresh SQLite store as fast as it takes it."""
    from orchestrator.driver.mirror import Mirror
    from orchestrator.driver.session import Session
    from orchestrator.record.journal import read_journal
    from sweeps.schema.load import load_spec

    events = read_journal(work / "many/out/journal.jsonl")
    chosen = {event["id"] for event in events if event["event"] == "trial_started"}
    chosen = set(sorted(chosen)[:count])
    session = Session.new(load_spec("demo"), work / "mirror/out").open()
    mirror = Mirror(session)
    _delivered(mirror)  # the store's tables are made once
    begin = time.perf_counter()
    for event in events:
        if event.get("id") in chosen:
            mirror.on_event(event)
    _delivered(mirror)
    milliseconds = (time.perf_counter() - begin) / len(chosen) * 1e3
    session.close()
    print(f"mlflow: {milliseconds:.0f} ms a trial")
    return milliseconds


def _delivered(mirror: Any) -> None:
    """Return once MLflow has everything."""
    while mirror.waiting:
        time.sleep(0.02)


def long_journal(work: Path, count: int = 10_000) -> dict[str, float]:
    """Seconds to read the journal of ``count`` trials, training reports included, and to sort it out by trial."""
    from orchestrator.record.journal import read_journal, records
    from sweeps.schema.load import load_spec

    trial = load_spec("demo").trial.model_dump(mode="json")
    metrics = {f"direction/{kind}/layer_{n:02d}": 0.98123 + n for kind in ("cosine", "displacement") for n in range(4)}
    metrics |= {f"safety/{name}": 0.123 for name in "abcdefgh"}
    path = work / "journal.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for event in _made_up(count, trial, metrics):
            file.write(json.dumps(event) + "\n")
    begin = time.perf_counter()
    found = records(read_journal(path))
    seconds = time.perf_counter() - begin
    assert len(found) == count
    print(f"journal: {count} trials, {path.stat().st_size / 2**20:.0f} MiB in {seconds:.2f} s")
    return {"journal_load_seconds_10k": seconds}


def _made_up(count: int, trial: dict[str, Any], metrics: dict[str, float]) -> Iterator[dict[str, Any]]:
    for number in range(count):
        own = {"id": f"m-{number}", "time": 1.7e9 + number}
        about = {"model": "m", "kind": "trial", "label": "x", "params": {"constraint.alpha": 0.1}, "trial": trial}
        yield {"event": "trial_started", **own, **about}
        for step in range(10, 101, 10):
            yield {"event": "trial_reported", **own, "step": step, "metrics": {f"train/{n}": 0.12345 for n in range(8)}}
        yield {"event": "trial_rung", **own, "step": 25, "metrics": metrics, "counts": {}, "errors": {}}
        ended = {"status": "FINISHED", "metrics": metrics, "counts": {}, "error": None}
        yield {"event": "trial_ended", **own, **ended, "select_metrics": metrics, "select_counts": {}}


def startup() -> dict[str, float]:
    """Seconds of a core for ``procon --help`` and for the import of the specification, and over a bare Typer's."""
    bare = _core_seconds("-c", "import typer, rich.console")
    asked = _core_seconds("-m", "orchestrator", "--help")
    loaded = _core_seconds("-c", "import sweeps.schema.load")
    print(f"startup: --help {asked:.2f} s ({asked / bare:.1f} times a bare Typer), specification {loaded:.2f} s")
    return {
        "help_core_seconds": asked,
        "help_over_bare_typer": asked / bare,
        "specification_core_seconds": loaded,
        "specification_over_bare_typer": loaded / bare,
    }


def _core_seconds(*arguments: str) -> float:
    """The least of five runs of Python, which tells more than their mean where others use the machine too."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = ("warm", "many", "journal", "startup")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--trials", type=int, default=1000, help="trials of the part many")
    options = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        if "warm" in options.parts:
            found |= warm_and_cold(work)
        if "many" in options.parts:
            found |= many_trials(work, options.trials)
        if "journal" in options.parts:
            found |= long_journal(work)
        if "startup" in options.parts:
            found |= startup()
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    from rich.table import Table

    from orchestrator.terminal import Terminal

    table = Table("measured", "value")
    for name, value in found.items():
        table.add_row(name, f"{value:.3g}")
    Terminal().print(table)


if __name__ == "__main__":
    main()
