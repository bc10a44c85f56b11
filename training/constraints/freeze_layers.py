"""Some layers are not trained at all: the constraint without a penalty."""

from torch import nn

from training.config import FreezeLayersConstraint
from training.constraints.layers import chosen_layers
from training.errors import ModelError
from training.models.loading import decoder_layers


def freeze(model: nn.Module, config: FreezeLayersConstraint) -> None:
    """Take the chosen decoder layers, adapters included, out of the training of ``model``.

    Raises:
        ModelError: a layer lies outside the model, or nothing is left to train.
    """
    blocks = decoder_layers(model)
    for layer in chosen_layers(config.layers, len(blocks)):
        blocks[layer].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError(f"constraint.layers ({config.layers!r}) freezes all that is trained: choose fewer layers")
