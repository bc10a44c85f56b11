"""Samples: where they come from, in which order they are trained on, and how they become tensors.

Importing this package loads neither torch nor datasets: :func:`check_source` runs while a specification is validated.
"""

from training.data.check import check_source
from training.data.sources import load_split

__all__ = ["check_source", "load_split"]
