"""One trial to run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.slots.messages import Job
from sweeps.schema.arms import CONSTRAINT, Arm

Kind = Literal["trial", "reference", "replicate"]


@dataclass(frozen=True)
class Proposal:
    """What the journal records of a trial, and the job a slot gets."""

    model: str
    kind: Kind
    label: str
    params: Mapping[str, Any]
    job: Job
    replicate_of: str | None = None
    """The trial whose settings a replicate repeats."""
    arm: Arm = CONSTRAINT
    """Of the search that a searched trial belongs to, and its replicates with it."""

    @property
    def seed(self) -> int | None:
        """Training seed; None for the untouched base model."""
        return self.job.trial.seed if self.job.trial else None

    @property
    def settings(self) -> dict[str, Any] | None:
        """The trial's whole configuration as the journal has it; None for the untouched base model."""
        return self.job.trial.model_dump(mode="json") if self.job.trial else None
