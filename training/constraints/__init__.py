"""Penalties that hold a model's behaviour in place while it is fine-tuned, behind one interface.

Adding one takes a block in ``training.config.constraint``, which the union there names too, and a module here that
bears the name of its ``type`` and has a subclass of :class:`~training.constraints.base.Constraint` and a function
``build(config, materials)`` that makes it; another package brings one by a
:class:`~training.config.constraint.PluginConstraint`.
"""

from training.constraints.base import Constraint, ForwardPass, GradientConstraint, TokenConstraint
from training.constraints.build import build_constraint
from training.constraints.materials import Initial, Materials

__all__ = [
    "Constraint",
    "ForwardPass",
    "GradientConstraint",
    "Initial",
    "Materials",
    "TokenConstraint",
    "build_constraint",
]
