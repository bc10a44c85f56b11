"""What a sweep sends to a bucket, and how much room that takes there and on each node."""

from dataclasses import dataclass

from orchestrator.commands.plan.estimate import Plan
from training.storage.cache import LIMIT, limit_bytes


@dataclass(frozen=True)
class BucketUse:
    """Bytes of checkpoints, beside which journal, answers and reports are little."""

    address: str
    uploaded: float | None
    """By all trials together, replicates included, at most; None where a model is not counted."""
    running: float | None
    """Of those that run at once, at most."""
    ended: float | None
    """Of one trial that ended and is kept, at most."""

    @classmethod
    def of(cls, plan: Plan, address: str) -> "BucketUse":
        """What ``plan`` comes to at ``address``."""
        fits = [(model.fit.checkpoints, model.work) for model in plan.models if model.fit is not None]
        if len(fits) < len(plan.models):
            return cls(address, None, None, None)
        uploaded = sum(one.written * (work.trained + work.replicates) for one, work in fits)
        held, kept = max(one.held for one, _ in fits), max(one.kept for one, _ in fits)
        return cls(address, uploaded, plan.slots * held, kept)

    @property
    def sentence(self) -> str:
        """It for people."""
        here = f"a node keeps what its running trials wrote last, and of others up to {_bytes(limit_bytes())} ({LIMIT})"
        if self.uploaded is None or self.running is None or self.ended is None:
            return f"{self.address} gets journal, answers, reports and checkpoints, how many bytes is unknown; {here}"
        return (
            f"{self.address} gets journal, answers and reports, and of checkpoints at most {_bytes(self.uploaded)} in "
            f"all: at most {_bytes(self.running)} of running trials at once, and {_bytes(self.ended)} of each that "
            f"ended and is kept (keep.checkpoints); {here}"
        )


def _bytes(count: float) -> str:
    """As stores bill it."""
    return f"{count / 1e9:,.0f} GB" if count >= 10e9 else f"{count / 1e6:,.0f} MB"
