"""From a configuration block to a constraint."""

from importlib import import_module

import torch

from training.config import Constraint as ConstraintBlock
from training.config import PluginConstraint
from training.constraints.base import Constraint
from training.constraints.materials import Initial, Materials, UnitDirection
from training.errors import DirectionError, ModelError


def build_constraint(
    config: ConstraintBlock,
    direction: UnitDirection,
    device: torch.device,
    initial: Initial | None = None,
    reference_precision: torch.dtype = torch.float32,
) -> Constraint | None:
    """The penalty that ``config`` describes.

    It is made by ``build`` of the module of this package that bears its type's name, or of the block itself where
    another package brings it.

    Args:
        config: the ``constraint`` block of a trial.
        direction: extracted at the blocks' output of the model to be trained.
        device: where the model is trained.
        initial: that model and the prompts of the direction; some types cannot be built without.
        reference_precision: in which projections of the initial model are kept.

    Returns:
        The constraint; None if its strength is 0 at every step, or it is no penalty.

    Raises:
        ModelError: its layers do not fit the model, or ``initial`` is missing.
        DirectionError: the direction was extracted at the blocks' input.
    """
    if not config.active:
        return None
    if direction.site != "block_output":
        raise DirectionError(f"the direction was extracted at {direction.site}: extract it at block_output")
    materials = Materials(direction, device, initial, reference_precision)
    if isinstance(config, PluginConstraint):
        return _checked(config.build(materials), config.type)
    built: Constraint = import_module(f"training.constraints.{config.type}").build(config, materials)
    return built


def _checked(built: object, kind: str) -> Constraint:
    if not isinstance(built, Constraint):
        raise ModelError(f"constraint.type ({kind}) built no training.constraints.Constraint: repair that package")
    return built
