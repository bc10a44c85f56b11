"""What holds the refusal direction in place during fine-tuning."""

from typing import Literal

from pydantic import Field, NonNegativeInt

from training.config.base import Config
from training.config.layers import Layers


class ProConConstraint(Config):
    """Projection constraint on every response token (arXiv 2509.06795)."""

    type: Literal["procon"] = "procon"
    """Which penalty is added to the cross-entropy."""
    alpha: float = Field(default=0.01, ge=0)
    """Constraint strength during the warm-up; 0 trains without a constraint."""
    warmup_steps: NonNegativeInt | Literal["all"] = "all"
    """Optimizer steps for which ``alpha`` holds before ``alpha_after`` follows; ``all`` keeps ``alpha`` constant."""
    alpha_after: float = Field(default=0.0, ge=0)
    """Constraint strength after the warm-up."""
    layers: Layers = "all"
    """Decoder layers whose projections are held, 0-based: all | 3 | [1, 3] | 10-20 | 40%-70%."""
    norm: Literal["abs", "squared", "token_l2"] = "abs"
    """Size of a projection's change: absolute, squared, or the root mean square over the tokens of each sample."""
    site: Literal["block_input", "block_output"] = "block_output"
    """Residual stream before or after the decoder block; under LoRA the input of layer 0 never changes."""
    alpha_scale: Literal["none", "separation"] = "none"
    """``separation`` divides each layer's projections by the distance between the harmful and harmless class means,
    which makes ``alpha`` comparable between models."""

    @property
    def active(self) -> bool:
        """Whether any optimizer step has a penalty."""
        return self.alpha > 0 or (self.alpha_after > 0 and self.warmup_steps != "all")
