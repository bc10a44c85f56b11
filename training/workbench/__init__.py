"""What a warm slot keeps between trials, and how it runs one."""

from training.evaluation.measure import Measurement
from training.loop.train import StepReport
from training.workbench.bench import Workbench

__all__ = ["Measurement", "StepReport", "Workbench"]
