"""Warm slots: long-lived Ray Train runs, each executing trials one after another."""

import contextlib
import threading
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.slots.worker import SlotSetup, slot_loop
from sweeps.schema.resources import ResourcesConfig
from sweeps.schema.spec import SweepSpec

RESTARTS = 100
"""How often Ray Train may restart a slot's worker group; the broker gives up on a trial long before."""
JOIN_SECONDS = 30.0


@dataclass
class Slots:
    """The warm slots of a sweep, each run by a thread of the driver.

    Args:
        broker: handle of the broker actor.
        broker_name: its name.
        namespace: the Ray namespace it lives in.
        spec: the sweep.
        directory: the sweep's output folder.
        count: how many slots run at once.
        day: that the prompts are of: every worker of every host is told the same.
    """

    broker: Any
    broker_name: str
    namespace: str
    spec: SweepSpec
    directory: Path
    count: int
    day: date
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start every slot; returns at once, while Ray brings the workers up."""
        # Ray Train and Ray Tune import each other in circles: two threads that import them at once find half a module.
        import ray.train.torch
        import ray.tune  # noqa: F401

        for slot in range(self.count):
            thread = threading.Thread(target=self._run, args=(slot,), name=f"slot-{slot}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Let the slots end once idle, and wait for them."""
        import ray

        try:
            ray.get(self.broker.close.remote(), timeout=JOIN_SECONDS)
        except Exception:  # Ray is gone, and the slots with it
            return
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def setup(self, slot: int) -> SlotSetup:
        """What every worker of ``slot`` is told."""
        spec = self.spec
        return SlotSetup(
            slot,
            self.broker_name,
            self.namespace,
            self.directory,
            spec.data,
            spec.direction,
            spec.evaluation,
            spec.trial,
            self.day,
            spec.resources.slot_timeout,
        )

    def _run(self, slot: int) -> None:
        import ray

        try:
            self._trainer(slot).fit()
            reason = f"slot {slot} ended early"
        except Exception as error:
            cause = error.__cause__ or error
            reason = f"slot {slot} failed: {type(cause).__name__}: {cause}"
        with contextlib.suppress(Exception):  # Ray may have ended first, and the broker with it
            if ray.is_initialized():
                self.broker.slot_gone.remote(slot, reason)

    def _trainer(self, slot: int) -> Any:
        import ray.train
        from ray.train.torch import TorchTrainer

        from orchestrator.slots.network import ClusterTorchConfig

        resources = self.spec.resources
        return TorchTrainer(
            partial(slot_loop, self.setup(slot)),
            torch_config=ClusterTorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=resources.workers,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker=worker_resources(resources),
            ),
            run_config=ray.train.RunConfig(
                name=f"slot-{slot}",
                storage_path=str(self.directory / "ray"),
                failure_config=ray.train.FailureConfig(max_failures=RESTARTS),
                callbacks=[failure_callback(slot, self.broker_name, self.namespace)],
            ),
        )


def failure_callback(slot: int, broker: str, namespace: str) -> Any:
    """What tells the broker at once that a slot's workers have failed, long before others are up in their place.

    Args:
        slot: of which slot.
        broker: name of the broker actor.
        namespace: the Ray namespace it lives in.
    """
    import ray
    from ray.train import UserCallback

    class Failed(UserCallback):  # type: ignore[misc]
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            died = [rank for rank, error in worker_exceptions.items() if hasattr(error, "health_check_failure")]
            reason = f"its worker {min(died)} died" if died else "its workers are started anew after an error"
            ray.get_actor(broker, namespace=namespace).slot_failed.remote(slot, reason)

    return Failed()


def worker_resources(resources: ResourcesConfig) -> dict[str, float]:
    """What Ray reserves for one worker."""
    needed = {"CPU": resources.cpus_per_worker}
    return needed | ({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {})
