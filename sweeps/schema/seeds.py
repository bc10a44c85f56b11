"""Training seeds: which trials are repeated to tell luck from settings."""

from pydantic import Field, field_validator

from training.config import Config


class SeedsConfig(Config):
    """Repetitions of the trials that matter."""

    replicates_on_front: int = Field(default=0, ge=0)
    """Training seeds that a trial on or near the front is measured with in all, the first included; 0 repeats none."""

    @field_validator("replicates_on_front")
    @classmethod
    def _repeats(cls, value: int) -> int:
        if value == 1:
            raise ValueError("replicates_on_front (1) is the searched trial itself: write 0 for none, or at least 2")
        return value
