"""Slots that train nothing: what remains of a sweep's time is the orchestration."""

import math
import random
import sys
import time
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


def pretend(job: Job, seconds: float) -> list[Update]:
    """What a slot would say of ``job``: ten training reports, its rungs, the end."""
    found = rates(job)
    counts = {name: (round(value * PROMPTS), PROMPTS) for name, value in found.items()}
    attack, accuracy = found["safety/attack_success_rate"], found["utility/accuracy"]
    cheap = {"safety/refusal_log_odds": 3 - 6 * attack, "utility/loss": 2 - accuracy}
    updates: list[Update] = []
    total = job.trial.steps if job.trial else 0
    for step in range(total // 10, total + 1, max(1, total // 10)) if total else ():
        time.sleep(seconds / 10)
        loss = {"train/loss": 2 - step / total, "train/penalty": 0.1, "train/seconds": seconds / 10}
        updates.append(Update("step", step, Scores(loss)))
    updates += [Update("rung", step, Scores(cheap, errors=dict.fromkeys(cheap, 0.05))) for step in job.rungs]
    updates.sort(key=lambda update: update.step)
    report, select = Scores(found, counts), Scores({**found, **cheap}, counts)
    return [*updates, Update("measured", total, report=report, select=select)]


def serve(broker: Any, slot: int, seconds: float) -> None:
    """Take jobs until there are no more; as :func:`orchestrator.slots.worker.slot_loop` does, without training."""
    import ray

    time.sleep(STARTING)
    ray.get(broker.slot_started.remote(slot, "fake", 0))  # of whose workers nothing is to be heard
    while (given := ray.get(broker.next_job.remote(slot, 20.0))) != CLOSE:
        if not isinstance(given, Assignment):
            continue
        about = slot, given.job.id, given.attempt
        for number, update in enumerate(pretend(given.job, seconds), start=1):
            if ray.get(broker.report.remote(*about, number, update)):
                ray.get(broker.report.remote(*about, number + 1, Update("stopped", update.step)))
                break


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

    def start(self) -> None:
        """Start every slot."""
        import ray
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers need not find this file
        task = ray.remote(num_cpus=0, max_retries=0)(serve)
        self._running = [task.remote(self.broker, slot, self.seconds) for slot in range(self.count)]

    def close(self) -> None:
        """Let the slots end once idle, and wait for them."""
        import ray

        ray.get(self.broker.close.remote())
        ray.get(self._running)
