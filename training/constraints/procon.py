"""ProCon: projections on the refusal direction stay where the initial model had them (arXiv 2509.06795)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from training.constraints.base import Constraint, ForwardPass
from training.errors import ModelError

Norm = Literal["abs", "squared", "token_l2"]

_ROUNDING = 16
"""Changes up to so many units of rounding of the class means' separation count as none."""


def project(states: Tensor, positions: Tensor, unit: Tensor) -> Tensor:
    """Projections ``z = r . x`` of the residual stream at ``positions``.

    Args:
        states: ``[batch, seq, d_model]`` residual stream of one layer.
        positions: ``[tokens]`` indices into the flattened ``[batch * seq]`` positions.
        unit: ``[d_model]`` unit direction r, float32 or wider.

    Returns:
        ``[tokens]`` in the precision of ``unit``, which keeps a bf16 model's penalty from rounding to zero.
    """
    return states.flatten(0, 1).index_select(0, positions).to(unit.dtype) @ unit


def drift_sum(change: Tensor, norm: Norm, sample: Tensor, samples: int) -> Tensor:
    """The size of the projections' change at one layer, summed over tokens (or samples for ``token_l2``).

    Args:
        change: ``[tokens]`` z_t - z_0, of the model being trained and the initial one.
        norm: ``abs`` sums the absolute change, ``squared`` its square; ``token_l2`` sums over the samples the root
            of the mean over their tokens of the square.
        sample: ``[tokens]`` the sample each token belongs to; read by ``token_l2`` only.
        samples: number of samples in the batch.

    Returns:
        A scalar.
    """
    if norm == "abs":
        return change.abs().sum()
    if norm == "squared":
        return change.square().sum()
    zeros = change.new_zeros(samples)
    tokens = zeros.index_add(0, sample, torch.ones_like(change)).clamp(min=1)
    mean_square = zeros.index_add(0, sample, change.square()) / tokens
    # The root has no gradient at 0, where every training starts: the floor makes it 0 there instead of infinite.
    floor = torch.finfo(change.dtype).tiny
    return mean_square.clamp(min=floor).sqrt().sum()


class ProCon(Constraint):
    """Sum over the layers of the mean over the response tokens of the size of ``z_t - z_0``."""

    site = "block_output"
    needs_references = True

    def __init__(
        self, units: Tensor, separations: Tensor, layers: Sequence[int], norm: Norm, *, scaled: bool = False
    ) -> None:
        """Hold projections in place.

        Args:
            units: ``[layers, d_model]`` the direction of each of ``layers``.
            separations: ``[layers]`` distance between the class means at each of them.
            layers: 0-based indices.
            norm: size of a change.
            scaled: whether each layer's projections are divided by its separation.
        """
        self.units = units
        # What rounding alone moves (other batch shapes add up in another order) is no drift. Without this, training
        # would start with a gradient of full size in the direction of rounding errors, another one on each machine.
        self.rounding: list[float] = (separations * _ROUNDING * torch.finfo(units.dtype).eps).tolist()
        self.scales: list[float] = separations.tolist() if scaled else [1.0] * len(layers)
        self.layers = layers
        self.norm: Norm = norm
        self.averages_over = "samples" if norm == "token_l2" else "tokens"

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty summed over the response tokens (or samples) of the batch and over the layers.

        Raises:
            ModelError: a layer's output carries no gradient: the constraint would silently do nothing.
        """
        batch, references = forward.batch, forward.references
        assert references is not None, "ProCon was built without reference projections"
        total = self.units.new_zeros(())
        for column, layer in enumerate(self.layers):
            states = forward.states[layer]
            if torch.is_grad_enabled() and not states.requires_grad:
                raise ModelError(
                    f"the output of layer {layer} does not depend on any trained weight, so the constraint would hold "
                    "nothing there: choose later constraint.layers, or other tuning.targets"
                )
            change = project(states, batch.response, self.units[column]) - references[:, column]
            change = F.hardshrink(change, self.rounding[column]) / self.scales[column]
            total = total + drift_sum(change, self.norm, batch.sample, batch.input_ids.shape[0])
        return total
