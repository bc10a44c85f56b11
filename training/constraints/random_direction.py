"""The control of ProCon: the same penalty on random directions, as strong on the weights as the real one.

If any direction did, the refusal direction would explain nothing; a method must beat this. ``training.loop.matching``
measures by how much the strength must be multiplied.
"""

import torch
from torch import Tensor

from training.config import ProConConstraint, RandomDirectionConstraint
from training.constraints.materials import Materials
from training.constraints.procon import ProCon, along


def random_units(layers: int, width: int, seed: int) -> Tensor:
    """``[layers, width]`` float32: independent directions, uniform on the sphere."""
    raw = torch.randn(layers, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(raw, dim=-1).float()


def real_twin(config: RandomDirectionConstraint) -> ProConConstraint:
    """The block of the constraint that this one is the control of."""
    return ProConConstraint(**config.model_dump(exclude={"type", "seed", "strength"}))


def build(config: RandomDirectionConstraint, materials: Materials) -> ProCon:
    """The constraint of a block of type ``random_direction``."""
    direction = materials.direction
    layers, width = direction.unit.shape
    unit = random_units(layers, width, config.seed).to(direction.unit.dtype)
    return along(real_twin(config), unit, materials)
