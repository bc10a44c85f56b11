"""Answers that another program writes than the one that trains."""

from training.evaluation.generators.base import Generator
from training.evaluation.generators.build import build_generator
from training.evaluation.generators.check import check_generator, refuse_tuning

__all__ = ["Generator", "build_generator", "check_generator", "refuse_tuning"]
