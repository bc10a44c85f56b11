"""What a trial is given of the cluster."""

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from training.config import Config


class ResourcesConfig(Config):
    """What one trial is given of the cluster."""

    workers: PositiveInt = 1
    """Ray Train workers (ranks) of a trial."""
    min_workers: PositiveInt | None = None
    """So few workers a trial may go on with after nodes were lost: as many as there are places for, of the divisors
    of ``workers``, so that its global batch stays the same, by accumulation. Its checkpoints are then written twice,
    the second time for a group of any size. None waits until all of them have a place again."""
    cpus_per_worker: float = Field(default=1.0, gt=0)
    """CPU cores of a worker."""
    gpus_per_worker: float = Field(default=0.0, ge=0)
    """GPUs of a worker; 0 trains on the CPU."""
    max_concurrent: PositiveInt | None = None
    """Trials at once; None takes what the cluster has room for."""
    price_per_hour: float | None = Field(default=None, gt=0)
    """Price of one GPU for an hour, in any currency; without GPUs, of one worker. None leaves money out."""
    check_memory: bool = True
    """Refuse a model whose weights, gradients and optimizer states are more than this machine has for a worker, by
    the estimate of ``procon plan``; false tries it all the same."""
    slot_timeout: float = Field(default=60.0, gt=0)
    """Seconds without a sign of life of a trial's worker, beyond the longest that it has been silent before, after
    which the trial goes to another slot, from its last checkpoint. Workers tell every five seconds that they live."""
    stall_timeout: float = Field(default=1800.0, gt=0)
    """Seconds in which none of a trial's workers gets on, as when one hangs in a collective, after which they are
    started anew; at least four times the longest that any trial of the sweep got on without."""

    @model_validator(mode="after")
    def _can_shrink(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(
                f"min_workers ({self.min_workers}) is more than workers ({self.workers}): lower it, or raise workers"
            )
        if self.min_workers is not None and len(self.sizes) == 1:
            raise ValueError(
                f"min_workers ({self.min_workers}) leaves no size but all {self.workers} workers, since a smaller one "
                f"has to divide {self.workers}: lower min_workers, or leave it out"
            )
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many workers a trial may have, ascending; the last is ``workers``."""
        least = self.min_workers or self.workers
        return tuple(size for size in range(least, self.workers + 1) if self.workers % size == 0)
