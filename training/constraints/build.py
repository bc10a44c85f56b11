"""From a configuration block to a constraint."""

from typing import Protocol

import torch
from torch import Tensor

from training.config import ProConConstraint, resolve_layers
from training.constraints.base import Constraint
from training.constraints.procon import ProCon
from training.errors import DirectionError, ModelError


class UnitDirection(Protocol):
    """What a constraint reads of a refusal direction."""

    @property
    def unit(self) -> Tensor:
        """``[layers, d_model]`` unit vectors, float32."""

    @property
    def separation(self) -> Tensor:
        """``[layers]`` distance between the two class means."""

    @property
    def site(self) -> str:
        """Where the residual stream was read."""


def held_layers(config: ProConConstraint, depth: int) -> list[int]:
    """The layers whose OUTPUT the constraint holds, in a model of ``depth`` decoder layers.

    The input of a block is the output of the block before it, so ``block_input`` moves every index down by one. The
    input of layer 0 is an embedding: it is the same for harmful and harmless prompts and has no refusal direction.

    Raises:
        ModelError: a layer lies outside the model, or nothing is left to hold.
    """
    try:
        layers = resolve_layers(config.layers, depth)
    except ValueError as error:
        raise ModelError(f"constraint.{error}") from error
    if config.site == "block_output":
        return layers
    before = [layer - 1 for layer in layers if layer > 0]
    if not before:
        raise ModelError(
            f"constraint.layers ({config.layers!r}) with site block_input is the embedding, which has no refusal "
            "direction: choose layers from 1 on, or site block_output"
        )
    return before


def build_constraint(config: ProConConstraint, direction: UnitDirection, device: torch.device) -> Constraint | None:
    """The penalty that ``config`` describes, for the model that ``direction`` was extracted from.

    Args:
        config: the ``constraint`` block of a trial.
        direction: extracted at the blocks' output.
        device: where the model is trained.

    Returns:
        The constraint; none if its strength is 0 at every step.

    Raises:
        ModelError: its layers do not fit the model.
        DirectionError: the direction was extracted at the blocks' input.
    """
    if not config.active:
        return None
    if direction.site != "block_output":
        raise DirectionError(f"the direction was extracted at {direction.site}: extract it at block_output")
    layers = held_layers(config, len(direction.unit))
    units = direction.unit[layers].to(device)
    scaled = config.alpha_scale == "separation"
    return ProCon(units, direction.separation[layers], layers, config.norm, scaled=scaled)
