"""Whole hidden states stay where the initial model had them: the constraint of every direction at once.

    L = sum_l mean_j || x_t - x_0 ||^2

Whole states are too large to keep (d_model numbers in place of one per token and layer), so this is the one constraint
that runs the initial model beside the trained one: with the adapters off, or under full tuning the model that training
began from, which ZeRO 3 holds a second time in shards for it.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from training.config import FeatureL2Constraint
from training.constraints.base import Constraint, ForwardPass
from training.constraints.initial_pass import as_before_training
from training.constraints.layers import chosen_layers
from training.constraints.materials import Materials
from training.constraints.positions import Tokens, positions_of
from training.constraints.projection import require_gradient
from training.models.loading import decoder
from training.models.logits import model_inputs
from training.models.residual import Site, capture


class FeatureL2(Constraint):
    """Squared distance of hidden states from those of the initial model."""

    reads_logits = False

    def __init__(
        self,
        initial: nn.Module,
        layers: Sequence[int],
        site: Site,
        tokens: Tokens,
        *,
        token_reduction: Literal["mean", "sum"] = "mean",
        layer_reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        """Hold hidden states in place.

        Args:
            initial: the model that training begins from; not used where adapters are trained.
            layers: 0-based indices.
            site: before or after the block.
            tokens: where.
            token_reduction: mean over the tokens of the global batch, or sum over a sample's and mean over samples.
            layer_reduction: how layers are put together.
        """
        self.initial = initial
        self.layers, self.site, self.tokens = layers, site, tokens
        self.averages_over = "tokens" if token_reduction == "mean" else "samples"
        self.weight = 1 / len(layers) if layer_reduction == "mean" else 1.0

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty summed over the tokens (or samples) of the batch and over the layers.

        Raises:
            ModelError: a layer's output carries no gradient: the constraint would silently do nothing.
        """
        batch = forward.batch
        where = positions_of(batch, self.tokens).index
        with as_before_training(forward.model, self.initial) as run, capture(run, self.layers, self.site) as states:
            decoder(run)(**model_inputs(run, batch), use_cache=False)
            before = {layer: states[layer].flatten(0, 1).index_select(0, where) for layer in self.layers}
        total: Tensor | float = 0.0
        for layer in self.layers:
            now = forward.states[layer]
            require_gradient(now, layer)
            wide = torch.promote_types(now.dtype, torch.float32)
            change = now.flatten(0, 1).index_select(0, where).to(wide) - before[layer].to(wide)
            total = total + change.square().sum()
        assert isinstance(total, Tensor)
        return total * self.weight


def build(config: FeatureL2Constraint, materials: Materials) -> FeatureL2:
    """The constraint of a block of type ``feature_l2``."""
    layers = chosen_layers(config.layers, materials.depth)
    return FeatureL2(
        materials.required_initial(config.type).model,
        layers,
        config.site,
        config.tokens,
        token_reduction=config.token_reduction,
        layer_reduction=config.layer_reduction,
    )
