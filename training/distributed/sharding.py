"""Whether a model's parameters are partitioned over the ranks, as ZeRO 3 partitions them."""

from torch import nn


def sharded(model: nn.Module) -> bool:
    """Whether ZeRO 3 has partitioned parameters of ``model``, so that every rank must take part in a forward pass.

    A parameter that is partitioned has shape (0,) between two forward passes; DeepSpeed keeps its whole shape in
    ``ds_shape``.
    """
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())
