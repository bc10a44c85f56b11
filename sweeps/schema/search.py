"""Settings of the search: who proposes the next trial."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from training.config import Config

LEARNING = ("tpe", "nsga2", "gp")
"""Samplers whose proposals depend on how earlier trials ended."""


class SearcherConfig(Config):
    """Who proposes the next trial."""

    sampler: Literal["tpe", "nsga2", "gp", "qmc", "random", "grid"] = "tpe"
    """tpe: multivariate tree-structured Parzen estimator; nsga2: genetic; gp: Gaussian processes, the most thoughtful
    and slowest; qmc: a scrambled Sobol sequence; random: uniform draws; grid: every combination, shuffled."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws; trials finish in no fixed order, so only a one-slot sweep repeats exactly."""
    startup_trials: PositiveInt = 8
    """tpe and gp: trials drawn at random before the results are modelled; nsga2: trials of a generation, the first of
    which is random; without effect on the other samplers."""
    warm_start: list[str] = Field(default_factory=list)
    """Output folders of earlier sweeps to learn from: values of finished trials where model, data and everything not
    searched are the same, else the settings of front trials, which are tried first (tpe, nsga2 and gp)."""

    forks: bool | None = None
    """Trials that train alike up to some step share the steps before it: each keeps checkpoints where others of the
    search may part from it, which then begin there, and trials on the front are tried with other ends. null does so
    where adapters are trained, whose checkpoints are small, and the sweep is in a folder."""

    @field_validator("warm_start")
    @classmethod
    def _absolute(cls, folders: list[str]) -> list[str]:
        """A sweep can be resumed from another folder than the one it was started in."""
        return [str(Path(folder).expanduser().absolute()) for folder in folders]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sampler == "nsga2" and self.startup_trials < 2:
            raise ValueError("startup_trials (1) is too few for a generation of nsga2: write at least 2")
        if self.warm_start and self.sampler not in LEARNING:
            raise ValueError(
                f"warm_start has no effect on the sampler {self.sampler}, which learns nothing: "
                f"remove it, or choose one of {', '.join(LEARNING)}"
            )
        return self
