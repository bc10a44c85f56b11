"""How the orchestration scales: many slots that train nothing, on one real Ray.

    python benchmarks/scale.py --parts broker --slots 256 --trials 512
    python benchmarks/scale.py --parts sweep --slots 64 --trials 2000 --seconds 20
    python benchmarks/scale.py --parts memory

The slots are threads of a few Ray tasks. In the part ``sweep`` all else is real: broker, Tune and its trial actors (a
process for each trial under way), driver, journal and MLflow. In the part ``broker`` only the broker is, and threads
of a few more tasks stand where Tune's trial actors do. The part ``memory`` is a small sweep that does train, to see
what a slot keeps on the driver's machine. A trial sleeps for ``--seconds``, times exp(normal(0, 0.2)),
with twelve reports on the way and a sign of life every five seconds. Prints what it finds and adds it to
benchmarks/results/scale.json, by which benchmarks/scaling.py foretells other sizes.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results" / "scale.json"
PROCESSES = 4
"""That the slots are threads of."""
SPREAD = 0.2


@dataclass
class Usage:
    """What processes of this driver's Ray use, looked at every few seconds until it is over."""

    broker: list[tuple[float, float]] = field(default_factory=list)
    """(when, seconds of a core since it started)."""
    driver: list[tuple[float, float, int]] = field(default_factory=list)
    """(when, seconds of a core, resident bytes)."""
    actors: list[int] = field(default_factory=list)
    """Resident bytes of Tune's trial actors together, less what they share."""

    def watch(self, over: threading.Event) -> None:
        """Look until ``over``."""
        own = psutil.Process()
        while not over.wait(5.0):
            now = time.time()
            used = own.cpu_times()
            self.driver.append((now, used.user + used.system, own.memory_info().rss))
            for process in own.children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                    if title.startswith("ray::Broker"):
                        used = process.cpu_times()
                        self.broker.append((now, used.user + used.system))
                except psutil.Error:
                    continue
            self.actors.append(sum(_unshared(own, "ray::ImplicitFunc")))


def measured(slots: int, trials: int, seconds: float) -> dict[str, float]:
    """Run one sweep; what its orchestration cost and how well it used the slots."""
    from fake_slots import FakeSlots

    from orchestrator.driver.session import Session
    from orchestrator.driver.sweep import drive
    from orchestrator.terminal import Terminal
    from sweeps.schema.load import load_spec

    made: list[Any] = []

    def make(*arguments: Any) -> Any:
        made.append(partial(FakeSlots, seconds=seconds, spread=SPREAD, processes=PROCESSES)(*arguments))
        return made[0]

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        out = Path(folder) / "sweeps/out"
        share = (psutil.cpu_count() or 1) / (slots + 1)  # of a core: nothing is computed
        changes = [f"trials={trials}", f"resources.max_concurrent={slots}", f"resources.cpus_per_worker={share}"]
        changes += ["searcher.sampler=random", "seeds.replicates_on_front=0"]
        session = Session.new(load_spec("demo", changes), out)
        usage, over = Usage(), threading.Event()
        thread = threading.Thread(target=usage.watch, args=(over,), daemon=True)
        thread.start()
        begin = time.time()
        drive(session, None, Terminal(file=io.StringIO()), make)
        over.set()
        thread.join()
        asked = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "orchestrator", "status", str(out)], check=True, stdout=subprocess.DEVNULL
        )
        status = time.perf_counter() - asked
    return {**_summary(made[0].spans, usage, slots, begin), "status_seconds": status}


def broker_alone(slots: int, trials: int, seconds: float) -> dict[str, float]:
    """Only the broker is real; what it costs, and how long a slot waits for its next job."""
    import fake_slots
    import ray
    from ray import cloudpickle

    from orchestrator.slots.broker import start_broker
    from orchestrator.slots.cluster import connect
    from orchestrator.slots.messages import Job
    from training.config import ModelConfig, TrialConfig

    connect(None, "scale", gpus=False)
    cloudpickle.register_pickle_by_value(fake_slots)
    model, trial = ModelConfig(name="m", path="organism"), TrialConfig(steps=120, learning_rate=1e-3)
    jobs = [Job(f"m-{number}", model, trial, judged=False) for number in range(trials)]
    usage, over = Usage(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "broker.jsonl"
        begin = time.time()
        broker = start_broker("broker", slots, 60.0, 1800.0, log)
        threading.Thread(target=usage.watch, args=(over,), daemon=True).start()
        serving = ray.remote(num_cpus=0)(fake_slots.serve_together)
        asking = ray.remote(num_cpus=0)(ask_together)
        shares = [range(number, slots, PROCESSES) for number in range(PROCESSES)]
        served = [serving.remote(broker, share, seconds, SPREAD) for share in shares]
        asked = [asking.remote(broker, jobs[number::PROCESSES], len(share)) for number, share in enumerate(shares)]
        ray.get(asked)
        ray.get(broker.close.remote())
        spans = [span for found in ray.get(served) for span in found]
        over.set()
        largest = log.stat().st_size / 2**20
    found = _summary(spans, usage, slots, begin)
    ray.shutdown()
    following = sorted(spans, key=lambda span: (span.slot, span.begin))
    gaps = [after.begin - one.end for one, after in pairwise(following) if one.slot == after.slot]
    kept = ("slots", "trials", "mean_trial_seconds", "utilisation", "broker_share_of_a_core")
    return {
        **{name: found[name] for name in kept},
        "median_gap_milliseconds": 1e3 * median(gaps) if gaps else float("nan"),
        "broker_log_megabytes": largest,
    }


def ask_together(broker: Any, jobs: list[Any], at_once: int) -> None:
    """What so many of Tune's trial actors do for ``jobs``, a thread each."""
    import ray

    from orchestrator.slots.tune_trial import POLL_SECONDS

    def ask(job: Any) -> None:
        ray.get(broker.submit.remote(job))
        seen = 0
        while True:
            updates = ray.get(broker.poll.remote(job.id, seen, POLL_SECONDS))
            seen += len(updates)
            if updates and updates[-1].final:
                ray.get(broker.settle.remote(job.id))
                return

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(ask, jobs))


def memory_of_a_slot() -> dict[str, float]:
    """What a slot keeps on the driver's machine, wherever its workers are: a controller and a trial's actor."""
    largest = {"ray::TrainController": 0, "ray::ImplicitFunc": 0}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        small = [
            f"--set={each}" for each in ("trials=2", "trial.steps=20", "search.constraint.warmup_steps.values=[5]")
        ]
        command = [
            sys.executable,
            "-m",
            "orchestrator",
            "run",
            "demo",
            "--out",
            f"{folder}/sweeps/out",
            "--fresh",
            *small,
        ]
        sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while sweep.poll() is None:
            time.sleep(1.0)
            for name, seen in largest.items():
                largest[name] = max([seen, *_unshared(psutil.Process(sweep.pid), name)])
        if sweep.returncode:
            sys.exit("the sweep failed")
    return {
        "controller_megabytes": largest["ray::TrainController"] / 2**20,
        "trial_actor_megabytes": largest["ray::ImplicitFunc"] / 2**20,
    }


def _unshared(root: psutil.Process, name: str) -> Iterator[int]:
    """Resident bytes of each process below ``root`` called ``name``, less what it shares."""
    with suppress(psutil.Error):
        for process in root.children(recursive=True):
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(name):
                    memory = process.memory_info()
                    yield memory.rss - memory.shared


def _summary(spans: list[Any], usage: Usage, slots: int, begin: float) -> dict[str, float]:
    """Over the time from which all slots had work until the last job was handed out."""
    first = {slot: min(span.begin for span in spans if span.slot == slot) for slot in {span.slot for span in spans}}
    since, until = max(first.values()), max(span.begin for span in spans)
    busy = sum(max(0.0, min(span.end, until) - max(span.begin, since)) for span in spans)
    ended = sum(since < span.end <= until for span in spans)
    broker = [one for one in usage.broker if since <= one[0] <= until]
    driver = [one for one in usage.driver if since <= one[0] <= until]
    if len(broker) < 2 or len(driver) < 2:
        raise SystemExit("too few trials: no slot had a second one while all of them worked")
    return {
        "slots": len(first),
        "trials": len(spans),
        "mean_trial_seconds": fmean(span.end - span.begin for span in spans),
        "seconds_until_all_slots_work": since - begin,
        "utilisation": busy / (slots * (until - since)),
        "broker_share_of_a_core": (broker[-1][1] - broker[0][1]) / (broker[-1][0] - broker[0][0]),
        "driver_core_milliseconds_per_trial": 1e3 * (driver[-1][1] - driver[0][1]) / max(1, ended),
        "driver_growth_megabytes": (driver[-1][2] - driver[0][2]) / 2**20,
        "tune_actors_megabytes": max(usage.actors) / 2**20,
    }


PARTS: dict[str, Callable[..., dict[str, float]]] = {
    "broker": broker_alone,
    "sweep": measured,
    "memory": memory_of_a_slot,
}
SIZED = ("broker", "sweep")
"""That take slots, trials and seconds of a trial."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=["broker", "sweep"])
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60.0, help="that a trial takes, in the median")
    options = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    size = options.slots, options.trials, options.seconds
    for part in options.parts:
        found = PARTS[part](*(size if part in SIZED else ()))
        name = f"{part} {options.slots}" if part in SIZED else part
        for key, value in found.items():
            print(f"{part:7s} {key:36s} {value:.4g}", flush=True)
        kept[name] = found
        RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
