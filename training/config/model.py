"""Which model is fine-tuned."""

from typing import Self

from pydantic import Field, model_validator

from training.config.base import Config


class ModelConfig(Config):
    """One model of a sweep; each model gets its own Pareto front."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Short name used in tables, trial ids and file names."""
    path: str = Field(min_length=1)
    """An embedded model (organism | organism/small | organism/real), a local directory, or a Hugging Face Hub id."""
    seed: int = Field(default=0, ge=0)
    """Build seed of an embedded model; without effect, and refused, for any other path."""

    @property
    def embedded(self) -> bool:
        """Whether the project builds this model itself."""
        return self.path == "organism" or self.path.startswith("organism/")

    @model_validator(mode="after")
    def _seed_has_effect(self) -> Self:
        if self.seed and not self.embedded:
            raise ValueError(f"seed ({self.seed}) has no effect on {self.path}: it is for embedded models, remove it")
        return self
