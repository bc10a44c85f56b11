"""How strong a constraint is over the optimizer steps."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from training.config.base import Config


class ConstraintConfig(Config):
    """What every constraint block answers, whether it is a penalty or not."""

    @property
    def active(self) -> bool:
        """Whether there is something to build for the training: a penalty in some optimizer step, most of all."""
        return False

    @property
    def plain(self) -> bool:
        """Whether the training is that without a constraint."""
        return False

    @property
    def extra_steps(self) -> int:
        """Optimizer steps that come before the trial's ``steps``."""
        return 0

    @property
    def extra_passes(self) -> int:
        """Backward passes of every optimizer step that are of no sample of its batch."""
        return 0


class Strength(ConstraintConfig):
    """The schedule of a penalty (arXiv 2509.06795, section on warm-up)."""

    alpha: float = Field(default=0.01, ge=0)
    """Constraint strength during the warm-up; 0 trains without a constraint."""
    warmup_steps: NonNegativeInt | Literal["all"] = "all"
    """Optimizer steps for which ``alpha`` holds before ``alpha_after`` follows; ``all`` keeps ``alpha`` constant."""
    warmup_epochs: PositiveFloat | None = None
    """Instead of ``warmup_steps``: passes over all samples that are trained on, rounded up to whole batches."""
    alpha_after: float = Field(default=0.0, ge=0)
    """Constraint strength after the warm-up."""
    decay: Literal["step", "linear"] = "step"
    """step: ``alpha`` falls to ``alpha_after`` at once when the warm-up ends; linear: in a straight line over the
    warm-up, which for ``all`` is the whole training."""
    warmup: Literal["within", "extra"] = "within"
    """within: the warm-up is the beginning of the trial's ``steps``; extra: it comes before them, as in the paper."""
    restart: bool = False
    """Make a training of its own of what follows the warm-up: fresh optimizer states, and for each stage a learning
    rate schedule and an order of the samples that begin anew."""

    @property
    def active(self) -> bool:
        """Whether any optimizer step has a penalty."""
        later = self.alpha_after > 0 and (self.warmup_steps != "all" or self.decay == "linear")
        return self.alpha > 0 or later

    @property
    def plain(self) -> bool:
        """Whether the training is that without a constraint."""
        return not self.active

    @property
    def extra_steps(self) -> int:
        """Optimizer steps that come before the trial's ``steps``; 0 where the strength has no boundary."""
        return self.warmup_steps if self.warmup == "extra" and self.warmup_steps != "all" else 0
