"""What holds a model's behaviour in place during fine-tuning: one block per kind of constraint.

A new kind is a block here, an entry of :data:`Constraint`, and ``training/constraints/<type>.py``; in a package of its
own, a :class:`PluginConstraint`.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from training.config.layers import Layers
from training.config.plugins import OrPlugin
from training.config.strength import ConstraintConfig, Strength


class _Layered(Strength):
    """A penalty on the residual stream of some layers at some tokens."""

    layers: Layers = "all"
    """Decoder layers that are held, 0-based: all | recommended | 3 | [1, 3] | 10-20 | 40%-70%."""
    site: Literal["block_input", "block_output"] = "block_output"
    """Residual stream before or after the decoder block; under LoRA the input of layer 0 never changes."""
    tokens: Literal["response", "last_prompt", "all"] = "response"
    """Where it is held: at every response token, at the last prompt token, or at every token."""
    token_reduction: Literal["mean", "sum"] = "mean"
    """mean over the tokens of the global batch; sum over a sample's tokens, mean over samples: the literal equation."""
    layer_reduction: Literal["sum", "mean"] = "sum"
    """How the layers' penalties are put together."""


class _Projected(_Layered):
    norm: Literal["abs", "squared", "token_l2"] = "abs"
    """Size of a projection's change: absolute, squared, or the root mean square over the tokens of each sample."""
    alpha_scale: Literal["none", "separation"] = "none"
    """``separation`` divides each layer's projections by the distance between the harmful and harmless class means,
    which makes ``alpha`` comparable between models."""


class ProConConstraint(_Projected):
    """Projections on the refusal direction stay where they were (arXiv 2509.06795)."""

    type: Literal["procon"] = "procon"
    """Projection constraint on the refusal direction."""


class RandomDirectionConstraint(_Projected):
    """The control that a method must beat: ProCon on random directions."""

    type: Literal["random_direction"] = "random_direction"
    """Projection constraint on one random direction per layer."""
    seed: int = Field(default=0, ge=0)
    """Seed of the directions."""
    strength: Literal["matched", "alpha"] = "matched"
    """matched: ``alpha`` and ``alpha_after`` are multiplied so that the penalty pulls on the weights as hard as ProCon
    would with them (ratio of median gradient norms early in training); alpha: taken as they are."""


class SdpConstraint(Strength):
    """Safety-direction penalty (arXiv 2608.23497): squared displacements along refusal against compliance."""

    type: Literal["sdp"] = "sdp"
    """Projection constraint on the direction from compliant to refusing responses."""
    alpha: float = Field(default=0.5, ge=0)
    """Constraint strength during the warm-up; the paper's gamma."""
    layers: Layers = "all"
    """Decoder layers that the mean is over, 0-based; the paper holds 5 of 28 or 14 of 36 layers."""
    tokens: Literal["response", "last_prompt", "all"] = "response"
    """Where it is held: at every response token, at the last prompt token, or at every token."""
    refusal: str = Field(default="I'm sorry, but I can't help with that.", min_length=1)
    """Refusing response to every harmful prompt, from which the direction is extracted."""
    compliance: str = Field(default="Sure, here is how you can do that.", min_length=1)
    """Compliant response to every harmful prompt, from which the direction is extracted."""


class SubspaceConstraint(_Layered):
    """Projections on several refusal directions at once stay where they were."""

    type: Literal["subspace"] = "subspace"
    """Squared change of the projection on ``rank`` orthonormal directions."""
    rank: PositiveInt = 4
    """Directions per layer: the difference of means, then the principal directions of what it leaves."""


class FeatureL2Constraint(_Layered):
    """Whole hidden states stay where they were; costs a second forward pass."""

    type: Literal["feature_l2"] = "feature_l2"
    """Squared distance of hidden states from the initial model's."""


class AnchorConstraint(Strength):
    """Safety bottleneck regularization (arXiv 2605.05995): final hidden states of a few harmful prompts stay."""

    type: Literal["anchor"] = "anchor"
    """Mean squared error of the final hidden state at the last token of anchor prompts."""
    alpha: float = Field(default=50.0, ge=0)
    """Constraint strength during the warm-up; the default is that of the paper's code."""
    prompts: PositiveInt = 8
    """Harmful train prompts to anchor; they are one more forward pass each time."""
    seed: int = Field(default=0, ge=0)
    """Seed of their draw."""


class KlReferenceConstraint(Strength):
    """The next-token distribution stays where it was, on a coarse grid of the initial model's likeliest tokens."""

    type: Literal["kl_reference"] = "kl_reference"
    """KL divergence from the initial model over its 64 likeliest tokens and one bucket for all others."""


class SafeGradConstraint(Strength):
    """Gradient surgery (SafeGrad, arXiv 2508.07172): what of the cross-entropy's gradient undoes alignment goes."""

    type: Literal["safe_grad"] = "safe_grad"
    """Where the gradient of the cross-entropy opposes that of an alignment loss on safety samples, its part along that
    one is taken out; ``alpha`` times the alignment gradient is added."""
    alpha: float = Field(default=1.0, ge=0)
    """How much of the alignment gradient is added during the warm-up; the paper's rho. 0 trains without surgery, a tiny
    value takes out what conflicts and adds next to nothing."""
    samples: PositiveInt = 8
    """Safety samples per optimizer step that the alignment loss is over; they are one more forward pass of every worker
    and are not trained on."""

    @property
    def extra_passes(self) -> int:
        """The one that adds the alignment gradient."""
        return 1 if self.active else 0


class ConstrainedSftConstraint(Strength):
    """Token-wise constrained fine-tuning (arXiv 2406.05946, equation 3): the first response tokens hardly move."""

    type: Literal["constrained_sft"] = "constrained_sft"
    """Turns the cross-entropy into the paper's objective."""
    alpha: float = Field(default=1.0, ge=0)
    """Constraint strength during the warm-up; 1 is the paper's objective, 0 plain fine-tuning."""
    beta_first: PositiveFloat = 0.5
    """Strength beta at the first response token."""
    beta_prefix: PositiveFloat = 2.0
    """Strength beta at the following tokens of the prefix."""
    beta_rest: PositiveFloat = 0.1
    """Strength beta after the prefix."""
    prefix_tokens: PositiveInt = 5
    """Length of the prefix, its first token included."""


class L2InitConstraint(Strength):
    """Trained weights stay close to where they started (L2-SP, arXiv 1802.01483)."""

    type: Literal["l2_init"] = "l2_init"
    """Squared distance of the weights from their initial values; under LoRA, of the adapters' product from 0."""


class NullSpaceConstraint(ConstraintConfig):
    """Adapters do not see what harmful prompts have in common (the null space of GuardSpace, arXiv 2510.14301)."""

    type: Literal["null_space"] = "null_space"
    """Takes the main directions of harmful prompts' states out of every adapter's input; no penalty."""
    directions: PositiveInt = 8
    """How many directions of every adapted layer's input are taken out, those with most of the harmful prompts' energy
    first; it must be below the width of the narrowest input."""

    @property
    def active(self) -> bool:
        """It has no penalty, and is built nonetheless."""
        return True


class FreezeLayersConstraint(ConstraintConfig):
    """Some layers are not trained at all; no penalty."""

    type: Literal["freeze_layers"] = "freeze_layers"
    """Takes layers out of the training."""
    layers: Layers
    """Decoder layers that stay as they are, adapters included, 0-based: 3 | [1, 3] | 10-20 | 40%-70%."""


class PluginConstraint(Strength, ABC):
    """The base of constraints that other packages bring, declared in the entry point group ``procon.constraints``.

    A subclass has ``type: Literal["<name of the entry point>"]`` with that default, and fields as every block here. Its
    module is imported wherever the specification is read, so that torch and the like belong into :meth:`build`.
    """

    type: str
    """Name of the entry point."""

    @abstractmethod
    def build(self, materials: Any) -> Any:
        """The penalty, a :class:`training.constraints.Constraint`; called on every rank, where it is not always 0.

        Args:
            materials: :class:`training.constraints.Materials`.
        """


def _procon_unless_named(value: Any) -> Any:
    """A block without ``type`` is ProCon's."""
    return {"type": "procon", **value} if isinstance(value, dict) else value


Constraint = Annotated[
    ProConConstraint
    | SdpConstraint
    | RandomDirectionConstraint
    | SubspaceConstraint
    | FeatureL2Constraint
    | AnchorConstraint
    | KlReferenceConstraint
    | ConstrainedSftConstraint
    | SafeGradConstraint
    | L2InitConstraint
    | NullSpaceConstraint
    | FreezeLayersConstraint,
    Field(discriminator="type"),
    OrPlugin("procon.constraints", PluginConstraint),
    BeforeValidator(_procon_unless_named),
]
"""Any of them or a :class:`PluginConstraint`, told apart by ``type``."""

UNCONSTRAINED = ProConConstraint(alpha=0.0)
"""Plain fine-tuning."""
