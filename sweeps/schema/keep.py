"""What of a trial stays on disk once it has ended."""

from typing import Literal

from training.config import Config


class KeepConfig(Config):
    """What stays on disk."""

    checkpoints: Literal["front", "all", "none"] = "front"
    """Trained weights of ended trials: those of the trials on or near the front, with their replicates (procon export
    needs them), every finished trial's, or none."""
