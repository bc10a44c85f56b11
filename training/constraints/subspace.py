"""Projections on several orthonormal refusal directions stay where the initial model had them.

    L = sum_l mean_j || R_l (x_t - x_0) ||^2,   R_l [k, d_model] with orthonormal rows

The first row is the refusal direction r. The others are the principal directions of what r leaves of the class
difference: the top right singular vectors of the matrix with rows (I - r r^T)(x_i - nu), where x_i is the state of
harmful prompt i at its last token and nu the mean of the harmless ones. The rows have mean 0 and need no centring.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from training.config import SubspaceConstraint
from training.constraints.base import Constraint, ForwardPass, ProjectionRequest
from training.constraints.layers import held_layers
from training.constraints.materials import Materials
from training.constraints.positions import Tokens, positions_of
from training.constraints.projection import beyond_rounding, held_projections
from training.direction.vectors import difference_of_means, last_prompt_states
from training.errors import DirectionError


def refusal_subspace(harmful: Tensor, harmless: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """``rank`` orthonormal directions per layer, the difference of means first.

    Args:
        harmful: states ``[prompts, layers, d_model]``.
        harmless: states ``[prompts, layers, d_model]``.
        rank: how many.

    Returns:
        ``[layers, rank, d_model]`` and the separation of the means ``[layers]``, float32; computed in float64.

    Raises:
        DirectionError: the states span fewer directions.
    """
    first, separation = difference_of_means(harmful, harmless)
    unit = torch.nn.functional.normalize(first.double(), dim=-1)
    rest = harmful.double() - harmless.double().mean(dim=0)
    rest = (rest - torch.einsum("pld,ld->pl", rest, unit)[..., None] * unit).transpose(0, 1)
    _, sizes, vectors = torch.linalg.svd(rest, full_matrices=False)
    largest = 1 + int((sizes > 1e-6 * separation.double()[:, None]).sum(dim=1).min())
    if rank > largest:
        raise DirectionError(
            f"constraint.rank ({rank}) is more than the {largest} directions that {len(harmful)} harmful prompts span "
            f"at some layer: lower it to {largest} at most, or raise direction.prompts"
        )
    return torch.cat([unit[:, None], vectors[:, : rank - 1]], dim=1).float(), separation


class Subspace(Constraint):
    """Squared norm of the change of the projection on a subspace."""

    reads_logits = False
    site = "block_output"

    def __init__(
        self,
        unit: Tensor,
        layers: Sequence[int],
        tokens: Tokens,
        device: torch.device,
        *,
        token_reduction: Literal["mean", "sum"] = "mean",
        layer_reduction: Literal["sum", "mean"] = "sum",
        reference_precision: torch.dtype = torch.float32,
    ) -> None:
        """Hold projections in place.

        Args:
            unit: ``[all layers, directions, d_model]`` with orthonormal rows in every layer.
            layers: 0-based indices of those that are held.
            tokens: where.
            device: where the model is trained.
            token_reduction: mean over the tokens of the global batch, or sum over a sample's and mean over samples.
            layer_reduction: how layers are put together.
            reference_precision: in which the projections of the initial model are kept.
        """
        self.wants = ProjectionRequest(unit, tokens)
        self.layers, self.tokens = layers, tokens
        self.averages_over = "tokens" if token_reduction == "mean" else "samples"
        self.units = unit[list(layers)].to(device)
        self.weight = 1 / len(layers) if layer_reduction == "mean" else 1.0
        self.reference_precision = reference_precision

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty summed over the tokens (or samples) of the batch and over the layers.

        Raises:
            ModelError: a layer's output carries no gradient: the constraint would silently do nothing.
        """
        references = forward.references
        assert isinstance(references, Tensor), "the subspace was built without reference projections"
        where = positions_of(forward.batch, self.tokens)
        projections, rounding = held_projections(
            forward.states, self.layers, where.index, self.units, forward.logits.dtype
        )
        change = beyond_rounding(projections - references, references, rounding, self.reference_precision)
        return change.square().sum() * self.weight


def build(config: SubspaceConstraint, materials: Materials) -> Subspace:
    """The constraint of a block of type ``subspace``."""
    layers = held_layers(config.layers, config.site, materials.depth)
    initial = materials.required_initial(config.type)
    harmful, harmless = (
        last_prompt_states(initial.model, initial.tokenizer, prompts) for prompts in (initial.harmful, initial.harmless)
    )
    unit, _ = refusal_subspace(harmful, harmless, config.rank)
    return Subspace(
        unit,
        layers,
        config.tokens,
        materials.device,
        token_reduction=config.token_reduction,
        layer_reduction=config.layer_reduction,
        reference_precision=materials.reference_precision,
    )
