"""What ``front.json`` says of steps that trials shared (pure)."""

from orchestrator.front.schema.values import Part


class SharedSteps(Part):
    """Searched trials that began from others' checkpoints, since both train alike up to there."""

    forks: int
    """How many did."""
    shared: int
    """Optimizer steps that others had done for them."""
    trained: int
    """Optimizer steps that all searched trials did, shared ones counted once."""

    @property
    def sentence(self) -> str:
        """For people."""
        trials = "1 trial" if self.forks == 1 else f"{self.forks} trials"
        return f"{trials} began from another's checkpoint: {self.trained:,} steps trained, {self.shared:,} shared."
