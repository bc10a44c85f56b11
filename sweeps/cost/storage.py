"""What lies beside the devices: memory of the hosts, and checkpoints on disk (pure)."""

from dataclasses import dataclass
from math import sqrt

from sweeps.cost.activations import BYTES
from sweeps.cost.memory import worker_memory
from sweeps.cost.shape import Shape
from training.config import AdapterTuning, TrialConfig

PROCESS = 1.2 * 2**30
"""Bytes of a worker's process beside tensors: libraries and Ray (0.57 GiB were measured), and CUDA's on the host."""
KEPT = 2
"""Checkpoints of a trial that stay; a third is there while it is written."""
WRITTEN_PER_SECOND = 1e9
"""Bytes a second that shared storage is taken to write."""
BETWEEN_FAILURES = 24 * 3600.0
"""Seconds between two failures of a trial that checkpoints are weighed against."""


def host_bytes(shape: Shape, trial: TrialConfig, workers: int, on_node: int, files: float) -> float:
    """Memory of one node's host beside its devices.

    Args:
        shape: of the base model.
        trial: how it is tuned.
        workers: ranks of the trial.
        on_node: workers of all trials on the node.
        files: bytes of the model's files, which the node reads once for all of its workers.
    """
    return files + on_node * (PROCESS + worker_memory(shape, trial, workers).host)


@dataclass(frozen=True)
class Checkpoints:
    """What the checkpoints of one trial write and hold."""

    bytes: float
    """Of one."""
    written: float
    """Of all of a trial."""
    every: int
    """Steps between two."""

    @property
    def kept(self) -> float:
        """Bytes that stay of a trial that ended, at most."""
        return KEPT * self.bytes

    @property
    def held(self) -> float:
        """Bytes on disk at most, while a trial runs."""
        return (KEPT + 1) * self.bytes

    def share(self, seconds_per_step: float) -> float:
        """Share of a training's time that writing takes, at :data:`WRITTEN_PER_SECOND`."""
        writing = self.bytes / WRITTEN_PER_SECOND
        return writing / (writing + self.every * seconds_per_step)

    def cheapest(self, seconds_per_step: float) -> int:
        """Steps between two at which writing and what a failure loses cost least together (Young, 1974)."""
        between = sqrt(2 * self.bytes / WRITTEN_PER_SECOND * BETWEEN_FAILURES)
        return max(1, round(between / seconds_per_step))


def checkpoints(shape: Shape, trial: TrialConfig, *, any_size: bool = False) -> Checkpoints:
    """The checkpoints of ``trial``: what is trained in its precision, and AdamW's states with their master copy.

    The average of the weights comes on top where one is kept. A last one is written after the last step, whether it is
    due or not.

    Args:
        shape: of the base model.
        trial: how it is tuned.
        any_size: whether a group of another size may have to go on (``resources.min_workers``): states and master copy
            are then there twice, but for stage 0, whose checkpoints any size can read.
    """
    tuning = trial.tuning
    trained = shape.adapter_parameters(tuning) if isinstance(tuning, AdapterTuning) else shape.parameters
    states = 8 if trial.zero_stage == 0 else 24 if any_size else 12
    average = 0 if trial.ema_decay is None else 4
    one = float(trained * (BYTES[trial.precision] + states + average))
    times = -(-trial.total_steps // trial.checkpoint_every)
    return Checkpoints(one, one * times, trial.checkpoint_every)
