"""How the orchestration scales: many slots that train nothing, on one real Ray.

    python benchmarks/scale.py --slots 64 --trials 300 --seconds 60

The slots are threads of a few Ray tasks; broker, Tune and its trial actors (a process for each trial under way),
driver, journal and MLflow are the real ones. A trial sleeps for as long as is asked for, times exp(normal(0, 0.2)),
with ten reports on the way and the rungs that the specification has. Prints what it finds and adds it to
benchmarks/results/scale.json under the number of slots.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
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
            unshared = 0
            for process in own.children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                    if title.startswith("ray::Broker"):
                        used = process.cpu_times()
                        self.broker.append((now, used.user + used.system))
                    elif title.startswith("ray::ImplicitFunc"):
                        memory = process.memory_info()
                        unshared += memory.rss - memory.shared
                except psutil.Error:
                    continue
            self.actors.append(unshared)


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
        share = psutil.cpu_count() / (slots + 1)  # of a core: nothing is computed
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


def _summary(spans: list[Any], usage: Usage, slots: int, begin: float) -> dict[str, float]:
    """Over the time from which all slots had work until the last job was handed out."""
    first = {slot: min(span.begin for span in spans if span.slot == slot) for slot in {span.slot for span in spans}}
    since, until = max(first.values()), max(span.begin for span in spans)
    busy = sum(max(0.0, min(span.end, until) - max(span.begin, since)) for span in spans)
    ended = sum(since < span.end <= until for span in spans)
    broker = [one for one in usage.broker if since <= one[0] <= until]
    driver = [one for one in usage.driver if since <= one[0] <= until]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60.0, help="that a trial takes, in the median")
    options = parser.parse_args()
    found = measured(options.slots, options.trials, options.seconds)
    for name, value in found.items():
        print(f"{name:36s} {value:.4g}")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[str(options.slots)] = found
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
