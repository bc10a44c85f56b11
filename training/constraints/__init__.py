"""Penalties that hold a model's behaviour in place while it is fine-tuned, behind one interface.

Adding one takes a file here with a subclass of :class:`~training.constraints.base.Constraint`, its configuration block
in ``training.config.constraint``, and an entry in :func:`~training.constraints.build.build_constraint`.
"""

from training.constraints.base import Constraint, ForwardPass
from training.constraints.build import build_constraint

__all__ = ["Constraint", "ForwardPass", "build_constraint"]
