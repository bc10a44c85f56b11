"""Trained weights stay close to where they started (L2-SP, arXiv 1802.01483).

    L = sum || W_t - W_0 ||_F^2   over the trained matrices and vectors

Under LoRA the weights that act are W_0 + s B A, with s = alpha / rank and B = 0 at the start, so the distance is
s^2 || B A ||_F^2 = s^2 sum (B^T B) * (A A^T): two small matrices in place of a product as large as the weight.
"""

import torch
from torch import Tensor, nn

from training.config import L2InitConstraint
from training.constraints.base import Constraint, ForwardPass
from training.constraints.materials import Materials
from training.errors import ModelError


def product_norm_squared(a: Tensor, b: Tensor) -> Tensor:
    """``|| B A ||_F^2``.

    Args:
        a: ``[rank, in]``.
        b: ``[out, rank]``.
    """
    wide = torch.promote_types(a.dtype, torch.float32)
    a, b = a.to(wide), b.to(wide)
    return ((b.mT @ b) * (a @ a.mT)).sum()


def adapter_distance(model: nn.Module) -> Tensor | None:
    """Squared distance of all effective weights from the base model's; None where ``model`` has no adapters.

    Raises:
        ModelError: something besides LoRA matrices is trained.
    """
    from peft.tuners.lora import LoraLayer

    total: Tensor | None = None
    covered: set[int] = set()
    for module in model.modules():
        if not isinstance(module, LoraLayer):
            continue
        for name in module.lora_A:
            a, b = module.lora_A[name].weight, module.lora_B[name].weight
            if a.ndim == 2 and b.ndim == 2:
                distance = module.scaling[name] ** 2 * product_norm_squared(a, b)
                total = distance if total is None else total + distance
                covered |= {id(a), id(b)}
    if total is None:
        return None
    other = [name for name, weight in model.named_parameters() if weight.requires_grad and id(weight) not in covered]
    if other:
        raise ModelError(f"constraint.type (l2_init) knows only LoRA matrices, but {other[0]} is trained too")
    return total


class L2Init(Constraint):
    """Squared distance of the trained weights from their initial values."""

    reads_logits = False
    averages_over = "samples"

    def __init__(self, initial: nn.Module) -> None:
        """Hold weights in place.

        Args:
            initial: the model that training begins from; not used where adapters are trained.
        """
        self.initial = initial

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty times the samples of the batch."""
        total = adapter_distance(forward.model)
        if total is None:
            start = dict(self.initial.named_parameters())
            moved = [
                (weight.float() if weight.dtype.itemsize < 4 else weight) - start[name].detach().to(weight.device)
                for name, weight in forward.model.named_parameters()
                if weight.requires_grad
            ]
            total = torch.stack([change.square().sum() for change in moved]).sum()
        return total * forward.batch.samples


def build(config: L2InitConstraint, materials: Materials) -> L2Init:
    """The constraint of a block of type ``l2_init``."""
    return L2Init(materials.required_initial(config.type).model)
