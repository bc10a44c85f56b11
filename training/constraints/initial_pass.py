"""The initial model, run beside the one being trained."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from training.models.batching import measuring


@contextmanager
def as_before_training(model: nn.Module, initial: nn.Module) -> Iterator[nn.Module]:
    """The initial model without dropout and gradients: ``model`` with its adapters off, else ``initial``.

    Args:
        model: being trained, with adapters or as a copy of ``initial``.
        initial: the model it was made from; not used where there are adapters.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapters = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    run = model if adapters else initial
    # PEFT's own disable_adapter also turns the adapters' requires_grad off and on, in the middle of a forward pass.
    for adapter in adapters:
        adapter._disable_adapters = True
    try:
        with measuring(run):
            yield run
    finally:
        for adapter in adapters:
            adapter._disable_adapters = False
