"""Warm slots: long-lived Ray Train runs, each executing trials one after another."""

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.slots.setup import SlotSetup
from orchestrator.slots.shared_storage import Sight
from orchestrator.slots.worker import slot_loop
from sweeps.schema.resources import ResourcesConfig
from sweeps.schema.spec import SweepSpec
from training.storage.address import bucket_environment

RESTARTS = 100
"""How often Ray Train may restart a slot's worker group; the broker gives up on a trial long before."""
CONTROLLERS = 5
"""How often a slot is given another controller: one dies with what Ray ends beside it where a machine has no memory."""
MOST_SAID = 400
"""Characters of Ray's own words about a failure, which may be pages."""
JOIN_SECONDS = 30.0
"""How long the slots may take to end, all of them together."""


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
        sight: what every worker has to see; None where all are on this machine.
        address: of the sweep's place in a bucket; None where ``directory`` is all there is.
    """

    broker: Any
    broker_name: str
    namespace: str
    spec: SweepSpec
    directory: Path
    count: int
    day: date
    sight: Sight | None = None
    address: str | None = None
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start every slot; returns at once, while Ray brings the workers up."""
        # Ray Train and Ray Tune import each other in circles: two threads that import them at once find half a module.
        import ray.train.torch
        import ray.tune  # noqa: F401

        self.grow(self.count)

    def grow(self, count: int) -> None:
        """Start those that are missing of ``count`` slots, of which the broker knows."""
        for slot in range(len(self._threads), count):
            thread = threading.Thread(target=self._run, args=(slot,), name=f"slot-{slot}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Let the slots end once idle, and wait for them; those that still wait for a place end at once."""
        import ray

        try:
            ray.get(self.broker.close.remote(), timeout=JOIN_SECONDS)
        except Exception:  # Ray is gone, and the slots with it
            return
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

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
            self.sight,
            keys_for(spec, bucket=self.address is not None) if self.sight is not None else {},
            self.address,
            spec.resources.sizes if spec.resources.min_workers is not None else (),
        )

    def _run(self, slot: int) -> None:
        import ray

        for _ in range(CONTROLLERS):
            try:
                self._trainer(slot).fit()
                reason = f"slot {slot} ended early"
                break
            except Exception as error:
                reason = f"slot {slot} failed: {_in_a_line(error.__cause__ or error)}"
                if not self._goes_on(slot, error):
                    break
        with contextlib.suppress(Exception):  # Ray may have ended first, and the broker with it
            if ray.is_initialized():
                self.broker.slot_gone.remote(slot, reason)

    def _goes_on(self, slot: int, error: Exception) -> bool:
        """Whether a slot is still wanted that has lost its controller, of which it failed by ``error``."""
        import ray
        from ray.train import WorkerGroupError

        if isinstance(error, WorkerGroupError) or not ray.is_initialized():  # the workers themselves failed too often
            return False
        starved = isinstance(getattr(error, "controller_failure", error), ray.exceptions.OutOfMemoryError)
        reason = (
            "Ray ended what controls it, since its machine had no memory left" if starved else "its controller died"
        )
        try:
            return bool(ray.get(self.broker.slot_failed.remote(slot, reason, starved), timeout=JOIN_SECONDS))
        except Exception:  # Ray is gone, and the broker with it
            return False

    def _trainer(self, slot: int) -> Any:
        import ray.train
        from ray.train.torch import TorchTrainer

        from orchestrator.slots.group_callbacks import Failures, Places
        from orchestrator.slots.network import ClusterTorchConfig

        resources, told = self.spec.resources, (slot, self.broker_name, self.namespace)
        sizes = resources.sizes
        if len(sizes) > 1:
            from orchestrator.slots.elastic import NEVER, ElasticTrainer

            # A place that a dead node seems to have is given up after that long.
            os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "20")
            trainer: Any = partial(ElasticTrainer, sizes=sizes)
            scaling: dict[str, Any] = {
                "num_workers": (sizes[0], sizes[-1]),
                "elastic_resize_monitor_interval_s": NEVER,
            }
        else:
            trainer, scaling = TorchTrainer, {"num_workers": resources.workers}
        return trainer(
            train_loop_per_worker=partial(slot_loop, self.setup(slot)),
            torch_config=ClusterTorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                **scaling,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker=worker_resources(resources),
            ),
            run_config=ray.train.RunConfig(
                name=f"slot-{slot}",
                storage_path=str(self.directory / "ray"),
                failure_config=ray.train.FailureConfig(max_failures=RESTARTS),
                callbacks=[Failures(*told), Places(*told)],
            ),
        )


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= MOST_SAID else f'{text[:MOST_SAID]} …'}"


def keys_for(spec: SweepSpec, *, bucket: bool = False) -> dict[str, str]:
    """The secrets of this process's environment that workers on other machines need, by variable.

    They are of the Hub, of the servers that the specification names, and of the ``bucket`` that the sweep is in.
    """
    servers = [*spec.evaluation.judges, *([spec.evaluation.generator] if spec.evaluation.generator else [])]
    names = {"HF_TOKEN", *(getattr(server, "api_key_env", None) for server in servers)}
    of_bucket = bucket_environment() if bucket else {}
    return {name: os.environ[name] for name in names if name is not None and name in os.environ} | of_bucket


def worker_resources(resources: ResourcesConfig) -> dict[str, float]:
    """What Ray reserves for one worker."""
    needed = {"CPU": resources.cpus_per_worker}
    return needed | ({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {})
