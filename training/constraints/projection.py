"""How far projections of the residual stream have moved: pure functions, shared by several constraints."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from training.errors import ModelError

Norm = Literal["abs", "squared", "token_l2"]

_ROUNDING = 1.5
"""Root mean square over the tokens, in units of rounding times the root of the number of blocks before, up to which the
changes of a layer count as none: every block rounds the stream anew, and two passes over the same tokens in batches of
other shapes do so independently. At 3 to 32 blocks of random weights it is up to 1.1 in bf16 and 0.5 in float32 over 30
tokens and more; ``benchmarks/bf16.py`` says what is left of real drift."""


def project(states: Tensor, positions: Tensor, unit: Tensor) -> Tensor:
    """Projections ``z = r . x`` of the residual stream at ``positions``.

    Args:
        states: ``[batch, seq, d_model]`` residual stream of one layer.
        positions: ``[tokens]`` indices into the flattened ``[batch * seq]`` positions.
        unit: ``[d_model]`` unit direction r, or several ``[directions, d_model]``, float32 or wider.

    Returns:
        ``[tokens]`` or ``[tokens, directions]`` in the precision of ``unit``, which keeps a bf16 model's penalty from
        rounding to zero.
    """
    chosen = states.flatten(0, 1).index_select(0, positions).to(unit.dtype)
    return chosen @ (unit if unit.ndim == 1 else unit.mT)


@torch.no_grad()
def rounding_of(states: Tensor, positions: Tensor, unit: Tensor, weights: torch.dtype, blocks: int) -> Tensor:
    """How far rounding alone moves a projection, in the residual stream's unit.

    Batches of other shapes add up in another order. If that counted as drift, training would begin with a gradient of
    full size in the direction of rounding errors, another one on each machine.

    Every component x_i of the stream is kept to a relative eps of the model's own number format, independently of the
    others, which moves ``r . x`` by about eps times the root of ``sum_i (r_i x_i)^2``. In bf16 eps is 1/128, 65,536
    times that of float32; in a wide model it is nevertheless a small part of the separation of the class means, since
    the errors of many components cancel out. What sums over d_model terms in float32 lose comes on top.

    Args:
        states: ``[batch, seq, d_model]`` residual stream of one layer.
        positions: ``[tokens]`` indices into the flattened ``[batch * seq]`` positions.
        unit: ``[d_model]`` or ``[directions, d_model]``, in the precision of sums.
        weights: number format of the model's weights, which is the coarser one where an architecture keeps its
            residual stream in float32.
        blocks: decoder blocks that the stream has been through.

    Returns:
        ``[tokens]`` or ``[tokens, directions]`` in the precision of ``unit``.
    """
    kept = max(torch.finfo(precision).eps for precision in (states.dtype, weights))
    summed = math.sqrt(states.shape[-1]) * torch.finfo(unit.dtype).eps
    chosen = states.flatten(0, 1).index_select(0, positions).to(unit.dtype)
    squares = unit.square()
    spread = (chosen.square() @ (squares if squares.ndim == 1 else squares.mT)).sqrt()
    return spread * (_ROUNDING * math.sqrt(blocks) * (kept + summed))


def beyond_rounding(change: Tensor, reference: Tensor, rounding: Tensor, reference_precision: torch.dtype) -> Tensor:
    """``change`` with 0 in every layer whose changes rounding explains, all tokens taken together.

    Drift is common to many tokens, while rounding differs from one to the next: together they show drift that no token
    alone could be told of. In a layer where there is some, every token counts in full. What rounding adds to those is
    of either sign, and averages out; a limit for each token would hide most of the drift at the learning rates of bf16.

    Args:
        change: ``[tokens, layers]`` z_t - z_0.
        reference: ``[tokens, layers]`` z_0 as it was kept.
        rounding: ``[tokens, layers]`` of :func:`rounding_of`.
        reference_precision: in which z_0 was kept; in fp16 it is off by up to half a unit in its last place.
    """
    limit = rounding
    if reference_precision == torch.float16:
        half = torch.finfo(torch.float16)
        limit = limit + reference.abs().clamp(min=half.tiny) * (half.eps / 2)
    # Each token in units of its own rounding, so that the few with huge entries do not drown the rest.
    relative = change.detach() / limit.clamp(min=torch.finfo(limit.dtype).tiny)
    return torch.where(relative.square().mean(dim=0) > 1, change, 0.0)


def drift_sum(change: Tensor, norm: Norm, sample: Tensor, over_tokens: Literal["mean", "sum"] = "mean") -> Tensor:
    """The size of the projections' change, summed over layers and tokens (or samples for ``token_l2``).

    Args:
        change: ``[tokens, layers]`` z_t - z_0, of the model being trained and the initial one.
        norm: ``abs`` sums the absolute change, ``squared`` its square; ``token_l2`` sums over samples and layers the
            root of the mean over the sample's tokens of the square.
        sample: ``[tokens]`` the sample each token belongs to; read by ``token_l2`` only.
        over_tokens: whether ``token_l2`` takes the mean or the sum under its root.

    Returns:
        A scalar.
    """
    if norm == "abs":
        return change.abs().sum()
    if norm == "squared":
        return change.square().sum()
    # There are at most as many samples as tokens; counting them would wait for the device.
    squares = torch.zeros_like(change).index_add(0, sample, change.square())
    if over_tokens == "mean":
        tokens = change.new_zeros(len(change)).index_add(0, sample, change.new_ones(len(change)))
        squares = squares / tokens.clamp(min=1)[:, None]
    # The root has no gradient at 0, where every training starts: there it is taken of 1 and then thrown away.
    moved = squares > 0
    return torch.where(moved, torch.where(moved, squares, 1.0).sqrt(), 0.0).sum()


def require_gradient(states: Tensor, layer: int) -> None:
    """Refuse a residual stream that no trained weight reaches.

    Raises:
        ModelError: it carries no gradient: the constraint would silently do nothing.
    """
    if torch.is_grad_enabled() and not states.requires_grad:
        raise ModelError(
            f"the output of layer {layer} does not depend on any trained weight, so the constraint would hold "
            "nothing there: choose later constraint.layers, or other tuning.targets"
        )


def held_projections(
    states: Mapping[int, Tensor], layers: Sequence[int], positions: Tensor, units: Tensor, weights: torch.dtype
) -> tuple[Tensor, Tensor]:
    """:func:`project` and :func:`rounding_of` of every held layer of the model being trained.

    Args:
        states: layer index -> ``[batch, seq, d_model]`` residual stream, with graph.
        layers: 0-based indices.
        positions: ``[tokens]`` indices into the flattened ``[batch * seq]`` positions.
        units: ``[layers, d_model]`` or ``[layers, directions, d_model]``, in the order of ``layers``.
        weights: number format of the model's weights.

    Returns:
        Projections and their rounding, both ``[tokens, layers * directions]``.

    Raises:
        ModelError: a layer carries no gradient, see :func:`require_gradient`.
    """
    found, rounding = [], []
    for unit, layer in zip(units, layers, strict=True):
        require_gradient(states[layer], layer)
        found.append(project(states[layer], positions, unit))
        rounding.append(rounding_of(states[layer], positions, unit, weights, layer + 1))
    if units.ndim == 2:
        return torch.stack(found, dim=1), torch.stack(rounding, dim=1)
    return torch.cat(found, dim=1), torch.cat(rounding, dim=1)
