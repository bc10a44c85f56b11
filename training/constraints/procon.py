"""ProCon: projections on the refusal direction stay where the initial model had them (arXiv 2509.06795)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.config import ProConConstraint
from training.constraints.base import Constraint, ForwardPass, ProjectionRequest
from training.constraints.layers import held_layers
from training.constraints.materials import Materials
from training.constraints.positions import Tokens, positions_of
from training.constraints.projection import Norm, beyond_rounding, drift_sum, held_projections


@dataclass(frozen=True)
class Measure:
    """How changes of projections become one number."""

    norm: Norm = "abs"
    """Size of a change."""
    tokens: Tokens = "response"
    """Which tokens it is measured at."""
    token_reduction: Literal["mean", "sum"] = "mean"
    """mean over the tokens of the global batch, or sum over a sample's tokens and mean over samples."""
    layer_reduction: Literal["sum", "mean"] = "sum"
    """How layers are put together."""


class ProCon(Constraint):
    """Sum over the layers of the mean over the tokens of the size of ``z_t - z_0``."""

    reads_logits = False
    site = "block_output"

    def __init__(
        self,
        unit: Tensor,
        separation: Tensor,
        layers: Sequence[int],
        measure: Measure,
        device: torch.device,
        *,
        scaled: bool = False,
        reference_precision: torch.dtype = torch.float32,
    ) -> None:
        """Hold projections in place.

        Args:
            unit: ``[all layers, d_model]`` the direction of each layer.
            separation: ``[all layers]`` distance between the class means, in the residual stream's unit.
            layers: 0-based indices of those that are held.
            measure: size of a change.
            device: where the model is trained.
            scaled: whether each layer's projections are divided by its separation.
            reference_precision: in which the projections of the initial model are kept.
        """
        self.wants = ProjectionRequest(unit, measure.tokens)
        self.tokens = measure.tokens
        self.layers = layers
        self.measure = measure
        per_sample = measure.norm == "token_l2" or measure.token_reduction == "sum"
        self.averages_over = "samples" if per_sample else "tokens"
        self.units = unit[list(layers)].to(device)
        separations = separation[list(layers)].to(device, self.units.dtype)
        self.scales = separations if scaled else torch.ones_like(separations)
        self.reference_precision = reference_precision

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty summed over the tokens (or samples) of the batch and over the layers.

        Raises:
            ModelError: a layer's output carries no gradient: the constraint would silently do nothing.
        """
        references = forward.references
        assert isinstance(references, Tensor), "ProCon was built without reference projections"
        where = positions_of(forward.batch, self.tokens)
        projections, rounding = held_projections(
            forward.states, self.layers, where.index, self.units, forward.logits.dtype
        )
        change = beyond_rounding(projections - references, references, rounding, self.reference_precision) / self.scales
        total = drift_sum(change, self.measure.norm, where.sample, self.measure.token_reduction)
        return total / len(self.layers) if self.measure.layer_reduction == "mean" else total


def build(config: ProConConstraint, materials: Materials) -> ProCon:
    """The constraint of a block of type ``procon``."""
    return along(config, materials.direction.unit, materials)


def along(config: ProConConstraint, unit: Tensor, materials: Materials) -> ProCon:
    """The constraint that ``config`` describes, on the projections on ``unit`` ``[layers, d_model]``."""
    return ProCon(
        unit,
        materials.direction.separation,
        held_layers(config.layers, config.site, materials.depth),
        Measure(config.norm, config.tokens, config.token_reduction, config.layer_reduction),
        materials.device,
        scaled=config.alpha_scale == "separation",
        reference_precision=materials.reference_precision,
    )
