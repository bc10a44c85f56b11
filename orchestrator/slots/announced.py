"""The announced end of a node: a spot machine that is reclaimed, a pod that is moved, a node that somebody drains."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """What a worker knows of nodes of its group that will be taken away."""

    nodes: tuple[str, ...]
    """Their ids in Ray."""
    deadline: float | None
    """Seconds since the epoch; None where nobody said when."""

    def sentence(self) -> str:
        """What people are told: which node, and how long it has."""
        named = ", ".join(_named(node) for node in self.nodes)
        when = "soon" if self.deadline is None else f"in {max(0.0, self.deadline - time.time()):.0f} s"
        return f"{named} will be taken away {when}"


def notice() -> Notice | None:
    """What Ray Train's watcher, which asks Ray every second whether a node is drained, told this worker; else None.

    ``ray.train.get_preemption_info`` says the same, but only to all ranks together, by a call to another process that
    each of them waits for: too slow to be asked after every optimizer step, and nothing for a thread of one rank.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    try:
        info = get_train_context().preemption_context.preemption_info
    except RuntimeError:  # outside a worker of Ray Train nobody is told
        return None
    if info is None:
        return None
    deadline = None if info.deadline_ms is None else info.deadline_ms / 1000
    return Notice(tuple(info.preempted_node_ids), deadline)


def _named(node: str) -> str:
    import ray

    from orchestrator.slots.shared_storage import node_name

    known = (one for one in ray.nodes() if one["NodeID"] == node)
    return next((node_name(one["NodeManagerAddress"], one["NodeManagerHostname"]) for one in known), f"node {node}")
