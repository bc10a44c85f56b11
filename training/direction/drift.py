"""How far training moved the refusal direction, and the model along the direction it had."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.data.chat import encode_prompts
from training.direction.vectors import Direction, last_token_states, unit_difference
from training.distributed.ranks import rank, world_size
from training.distributed.shares import share_of, together
from training.errors import DirectionError
from training.models.batching import BatchSize


@dataclass(frozen=True, eq=False)
class DriftReference:
    """What drift is measured against: the initial direction, its prompts, and where the initial model put them."""

    direction: Direction
    """r_0 of every layer."""
    harmful: list[list[int]]
    """Token ids of the harmful prompts the direction was extracted from."""
    harmless: list[list[int]]
    """Token ids of the harmless ones."""
    projections: Tensor
    """``[prompts, layers]`` float32: z_0 = <r_0, x> at the last prompt token, harmful prompts first."""

    @classmethod
    def of_initial_model(
        cls,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        direction: Direction,
        harmful: Sequence[str],
        harmless: Sequence[str],
        *,
        batch_size: int = 64,
    ) -> Self:
        """The reference, from the model that ``direction`` was extracted from and the prompts it was extracted with."""
        harmful_ids, harmless_ids = encode_prompts(tokenizer, harmful), encode_prompts(tokenizer, harmless)
        states = last_token_states(model, harmful_ids + harmless_ids, site=direction.site, batch_size=batch_size)
        return cls(direction, harmful_ids, harmless_ids, project(states, direction))

    def of(self, model: torch.nn.Module, batch_size: int | BatchSize) -> dict[str, float]:
        """:func:`drift_metrics` of ``model`` against this."""
        return drift_metrics(model, self, batch_size=batch_size)


def project(states: Tensor, direction: Direction) -> Tensor:
    """Projections <r, x> ``[prompts, layers]`` of states ``[prompts, layers, d_model]``."""
    return torch.einsum("pld,ld->pl", states, direction.unit)


class _Sums(NamedTuple):
    """What the ranks add up of the states of their prompts, float64."""

    displacement: Tensor
    """``[layers]`` of |z_t - z_0|."""
    harmful: Tensor
    """``[layers, d_model]`` of the states of harmful prompts."""
    harmless: Tensor
    """``[layers, d_model]`` of the states of harmless ones."""
    length: Tensor
    """``[layers]`` of the lengths of the latter."""


def drift_metrics(
    model: torch.nn.Module, reference: DriftReference, *, batch_size: int | BatchSize = 64
) -> dict[str, float]:
    """Drift of every layer, from one pass over the reference's prompts, which the ranks share; all must call it.

    Returns:
        ``direction/cosine/layer_NN``: <r_0, r_t> with r_t extracted from ``model`` by the procedure and prompts of r_0,
        sign kept; NaN where the model no longer tells the two kinds of prompts apart.
        ``direction/displacement/layer_NN``: mean |z_t - z_0| along the fixed r_0, in the residual stream's unit.
    """
    direction = reference.direction
    prompts = reference.harmful + reference.harmless
    split = len(reference.harmful)
    mine = share_of([len(ids) for ids in prompts], rank(), world_size())

    def sums() -> _Sums:
        states = last_token_states(
            model, [prompts[index] for index in mine], site=direction.site, batch_size=batch_size
        )
        moved = (project(states, direction) - reference.projections[mine]).abs().double()
        harmful = torch.tensor([index < split for index in mine], dtype=torch.bool)
        kinds = states[harmful].double(), states[~harmful].double()
        return _Sums(moved.sum(0), kinds[0].sum(0), kinds[1].sum(0), kinds[1].norm(dim=-1).sum(0))

    total = _Sums(*(torch.stack(parts).sum(0) for parts in zip(*together(sums), strict=True)))
    displacement = total.displacement / len(prompts)
    harmless = max(len(reference.harmless), 1)
    try:
        unit, _ = unit_difference(total.harmful / max(split, 1) - total.harmless / harmless, total.length / harmless)
        cosine = (unit.double() * direction.unit.double()).sum(dim=-1)
    except DirectionError:
        cosine = torch.full((direction.layers,), torch.nan)
    return {f"direction/cosine/layer_{layer:02d}": float(value) for layer, value in enumerate(cosine)} | {
        f"direction/displacement/layer_{layer:02d}": float(value) for layer, value in enumerate(displacement)
    }
