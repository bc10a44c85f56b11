"""The train loop of a warm slot: takes jobs one after another, with weights, data and references staying loaded."""

import os
import shutil
import socket
import uuid
from contextlib import nullcontext
from typing import Any, TypeVar

from orchestrator.record.folder import CHECKPOINTS
from orchestrator.slots.errors import FailedError, RestartNeededError
from orchestrator.slots.line import Line
from orchestrator.slots.messages import CLOSE, LEAVE, Assignment
from orchestrator.slots.pulse import Pulse
from orchestrator.slots.serve import Benches, serve
from orchestrator.slots.setup import SlotSetup
from orchestrator.slots.shared_storage import Sight, node_name
from training.storage.cache import in_use

Anything = TypeVar("Anything")
IDLE_SECONDS = 20.0
"""How long an idle slot waits for a job before it tells its other ranks that it is still there."""


def slot_loop(setup: SlotSetup) -> None:
    """Serve jobs until the broker closes; runs on every rank of the slot's Ray Train worker group."""
    import ray
    import ray.train

    from training.importing import importing

    os.environ.update(setup.keys)
    setup = setup.here()
    with importing():
        import training.workbench  # noqa: F401
        from training.distributed.process import start_process

        start_process()
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    broker = ray.get_actor(setup.broker, namespace=setup.namespace)
    if setup.sight is not None:
        _check_sight(setup.sight, broker)
    group = _of_rank_zero(uuid.uuid4().hex)
    with Pulse(broker, setup.slot, group, rank, workers, setup.silence):
        if rank == 0:
            ray.get(broker.slot_started.remote(setup.slot, group, workers))
        benches = Benches(setup)
        full = workers if setup.workers is None else setup.workers
        missing = full - workers
        room_before = _room() if missing else 0
        while True:
            if missing and rank == 0 and room_before < missing <= _room():
                told = f"there is room for all {full} of its workers again"
                ray.get(broker.slot_leaves.remote(setup.slot, group, told))
            given = ray.get(broker.next_job.remote(setup.slot, IDLE_SECONDS)) if rank == 0 else None
            given = _of_rank_zero(given)
            if given == CLOSE:
                return
            if given == LEAVE:
                raise RestartNeededError("its workers have to be elsewhere, or more")
            if isinstance(given, Assignment):
                line = Line(broker, setup, given, speaks=rank == 0, group=group)
                checkpoints = setup.directory / CHECKPOINTS
                try:
                    with nullcontext() if setup.address is None else in_use(checkpoints / given.job.id):
                        serve(given, benches, checkpoints, line)
                    if setup.address is not None:  # the bucket has them, and whoever goes on fetches them
                        shutil.rmtree(checkpoints / given.job.id, ignore_errors=True)
                except FailedError as failed:  # on this rank, of which rank 0 sees no more than a broken connection
                    line.fail(str(failed))
                    raise


def _room() -> int:
    """How many more workers like this one there are places for."""
    import ray

    free, own = ray.available_resources(), ray.get_runtime_context().get_assigned_resources()
    return min((int(free.get(name, 0.0) // needed) for name, needed in own.items() if needed > 0), default=0)


def _check_sight(sight: Sight, broker: Any) -> None:
    """Take no trial where a rank does not see the sweep's files.

    Raises:
        RestartNeededError: the group needs other nodes; the broker knows which.
    """
    import ray

    from training.distributed.ranks import from_all_ranks

    here = ray.get_runtime_context().get_node_id()
    fault = sight.fault(node_name(ray.util.get_node_ip_address(), socket.gethostname()))
    if fault is not None:
        ray.get(broker.see_blind.remote(here, fault))
    if any(from_all_ranks(fault)):
        raise RestartNeededError


def _of_rank_zero(value: Anything) -> Anything:
    """Rank 0's value, on every rank."""
    from torch import distributed

    from training.distributed.ranks import world_size

    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]
