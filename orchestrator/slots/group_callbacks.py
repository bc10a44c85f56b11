"""What Ray Train's controller of a slot tells the broker, and asks it, as groups of workers come and go."""

import contextlib
from typing import Any

import ray
from ray.train import UserCallback
from ray.train.v2._internal.execution.callback import ControllerCallback

ANSWER_SECONDS = 30.0
NODE = "ray.io/node-id"
"""The label by which Ray knows a node."""


class Failures(UserCallback):  # type: ignore[misc]
    """Tells at once that a slot's workers have failed, long before others are up in their place.

    Args:
        slot: of which slot.
        broker: name of the broker actor.
        namespace: the Ray namespace it lives in.
    """

    def __init__(self, slot: int, broker: str, namespace: str) -> None:
        self._slot = slot
        self._broker = broker, namespace

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Some workers have failed."""
        died = [rank for rank, error in worker_exceptions.items() if hasattr(error, "health_check_failure")]
        starved = [rank for rank in died if _is_starved(worker_exceptions[rank])]
        if starved:
            reason = f"Ray ended its worker {min(starved)}, whose machine had no memory left"
        elif died:
            reason = f"its worker {min(died)} died"
        else:
            reason = "its workers are started anew after an error"
        name, namespace = self._broker
        ray.get_actor(name, namespace=namespace).slot_failed.remote(self._slot, reason, bool(starved))


def _is_starved(error: Any) -> bool:
    """Whether Ray's memory monitor ended a worker, of which it died by ``error``."""
    return isinstance(error.health_check_failure, ray.exceptions.OutOfMemoryError)


class Places(ControllerCallback):  # type: ignore[misc]
    """Keeps a slot's workers off nodes that do not see the sweep's files; the broker may end who looks for places.

    Args:
        slot: of which slot.
        broker: name of the broker actor.
        namespace: the Ray namespace it lives in.
    """

    def __init__(self, slot: int, broker: str, namespace: str) -> None:
        self._slot = slot
        self._broker = broker, namespace
        self._request = ""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Remember what Ray Train calls what it asks the autoscaler for."""
        self._request = f"train-{train_run_context.run_id}"

    def on_controller_start_worker_group(self, *, scaling_config: Any, num_workers: int) -> dict[str, str] | None:
        """Which nodes may have the workers; any where none is known to be blind, or nobody can be asked."""
        name, namespace = self._broker
        with contextlib.suppress(Exception):  # a broker that is just being started again
            myself = ray.get_runtime_context().current_actor
            broker = ray.get_actor(name, namespace=namespace)
            blind = ray.get(broker.controlled.remote(self._slot, [myself], self._request), timeout=ANSWER_SECONDS)
            return {NODE: f"!in({','.join(blind)})"} if blind else None
        return None
