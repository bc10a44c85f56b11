"""Which layers a constraint holds."""

from training.config import resolve_layers
from training.config.layers import LayerChoice
from training.errors import ModelError
from training.models.residual import Site


def chosen_layers(choice: LayerChoice, depth: int) -> list[int]:
    """The 0-based layers that ``constraint.layers`` names in a model of ``depth`` decoder layers.

    Raises:
        ModelError: a layer lies outside the model.
    """
    try:
        return resolve_layers(choice, depth)
    except ValueError as error:
        raise ModelError(f"constraint.{error}") from error


def held_layers(choice: LayerChoice, site: Site, depth: int) -> list[int]:
    """The layers whose OUTPUT the constraint holds, in a model of ``depth`` decoder layers.

    The input of a block is the output of the block before it, so ``block_input`` moves every index down by one. The
    input of layer 0 is an embedding: it is the same for harmful and harmless prompts and has no refusal direction.

    Raises:
        ModelError: a layer lies outside the model, or nothing is left to hold.
    """
    layers = chosen_layers(choice, depth)
    if site == "block_output":
        return layers
    before = [layer - 1 for layer in layers if layer > 0]
    if not before:
        raise ModelError(
            f"constraint.layers ({choice!r}) with site block_input is the embedding, which has no refusal "
            "direction: choose layers from 1 on, or site block_output"
        )
    return before
