"""Slots that train nothing: what remains of a sweep's time is the orchestration."""

import math
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from orchestrator.slots.messages import CLOSE, Assignment, Job, Update
from sweeps.schema.spec import SweepSpec
from training.evaluation.scores import Scores

PROMPTS = 100
"""Prompts that every rate is pretended to be measured on."""


STARTING = 8.0
"""Seconds until a slot takes jobs; real ones need longer, and Tune's trial actors come up meanwhile."""
BEAT_SECONDS = 5.0
"""Between two signs of life, as of real workers."""


def rates(job: Job) -> dict[str, float]:
    """Attack success and accuracy of a job: a smooth trade-off in the constraint's strength, a little noise."""
    if job.trial is None:
        return {"safety/attack_success_rate": 0.01, "utility/accuracy": 0.1}
    constraint = job.trial.constraint
    layer = getattr(constraint, "layers", None)
    force = math.log10(getattr(constraint, "alpha", 0.0) + 1e-4) + (0.3 * layer if isinstance(layer, int) else 0.0)
    noise = random.Random(job.id).gauss(0.0, 0.03)
    attack = 1 / (1 + math.exp(2 * force + 2)) + noise
    accuracy = 0.9 / (1 + math.exp(2 * force - 1)) + noise
    return {"safety/attack_success_rate": _rate(attack), "utility/accuracy": _rate(accuracy)}


def _rate(value: float) -> float:
    return round(PROMPTS * min(1.0, max(0.0, value))) / PROMPTS


def pretend(job: Job, seconds: float) -> Iterator[Update]:
    """What a slot says of ``job``, when it says it: ten training reports, its rungs, the end."""
    found = rates(job)
    counts = {name: (round(value * PROMPTS), PROMPTS) for name, value in found.items()}
    attack, accuracy = found["safety/attack_success_rate"], found["utility/accuracy"]
    cheap = {"safety/refusal_log_odds": 3 - 6 * attack, "utility/loss": 2 - accuracy}
    total = job.trial.steps if job.trial else 0
    reported = set(range(total // 10, total + 1, max(1, total // 10))) if total else set()
    for step in sorted(reported | set(job.rungs)):
        if step in reported:
            time.sleep(seconds / 10)
            loss = {"train/loss": 2 - step / total, "train/penalty": 0.1, "train/seconds": seconds / 10}
            yield Update("step", step, Scores(loss))
        if step in job.rungs:
            yield Update("rung", step, Scores(cheap, errors=dict.fromkeys(cheap, 0.05)))
    report, select = Scores(found, counts), Scores({**found, **cheap}, counts)
    yield Update("measured", total, report=report, select=select)


@dataclass(frozen=True)
class Span:
    """One job on one slot."""

    slot: int
    job: str
    begin: float
    """In seconds since the epoch."""
    end: float


def serve(broker: Any, slot: int, seconds: float, spread: float) -> list[Span]:
    """Take jobs until there are no more; as :func:`orchestrator.slots.worker.slot_loop` does, without training."""
    import ray

    time.sleep(STARTING)
    ray.get(broker.slot_started.remote(slot, "fake", 1))
    ray.get(broker.here.remote(slot, "fake", 0, 1, [None]))
    spans: list[Span] = []
    while (given := ray.get(broker.next_job.remote(slot, 20.0))) != CLOSE:
        if not isinstance(given, Assignment):
            continue
        begin = time.time()
        about = slot, given.job.id, given.attempt
        taking = seconds * math.exp(random.Random(given.job.id).gauss(0.0, spread))
        for number, update in enumerate(pretend(given.job, taking), start=1):
            if ray.get(broker.report.remote(*about, number, update)):
                ray.get(broker.report.remote(*about, number + 1, Update("stopped", update.step)))
                break
        spans.append(Span(slot, given.job.id, begin, time.time()))
    return spans


def serve_together(broker: Any, slots: Sequence[int], seconds: float, spread: float) -> list[Span]:
    """:func:`serve` of several slots in one process, a thread each, with the signs of life that real workers give."""
    import ray

    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            ray.get([broker.beat.remote(slot, "fake", 0, time.monotonic_ns()) for slot in slots])

    threading.Thread(target=beat, daemon=True).start()
    with ThreadPoolExecutor(len(slots)) as threads:
        found = list(threads.map(lambda slot: serve(broker, slot, seconds, spread), slots))
    over.set()
    return [span for spans in found for span in spans]


@dataclass
class FakeSlots:
    """Stands where :class:`orchestrator.slots.slot.Slots` does."""

    broker: Any
    broker_name: str
    namespace: str
    spec: SweepSpec
    directory: Path
    count: int
    day: date
    seconds: float = 0.01
    """How long a trial sleeps."""
    spread: float = 0.0
    """Standard deviation of the logarithm of that."""
    processes: int | None = None
    """Over which the slots are spread as threads; None gives each its own."""

    def start(self) -> None:
        """Start every slot."""
        import ray
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers need not find this file
        task = ray.remote(num_cpus=0, max_retries=0)(serve_together)
        processes = self.processes or self.count
        shares = [range(number, self.count, processes) for number in range(processes)]
        self._running = [task.remote(self.broker, share, self.seconds, self.spread) for share in shares]

    def close(self) -> None:
        """Let the slots end once idle, and wait for them."""
        import ray

        ray.get(self.broker.close.remote())
        self.spans = [span for spans in ray.get(self._running) for span in spans]
