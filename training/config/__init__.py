"""The schema of one trial: what is trained, on what data, under which constraint, and how it is measured.

Imports neither torch nor transformers, so that ``procon --help`` and spec validation stay instant.
"""

from training.config.base import Config
from training.config.constraint import ProConConstraint
from training.config.data import COLUMNS, Column, DataConfig, Source, SplitSource
from training.config.layers import Layers, resolve_layers
from training.config.measurement import DirectionConfig, EvaluationConfig
from training.config.model import ModelConfig
from training.config.trial import DeepSpeedConfig, FullTuning, LoraTuning, TrialConfig

__all__ = [
    "COLUMNS",
    "Column",
    "Config",
    "DataConfig",
    "DeepSpeedConfig",
    "DirectionConfig",
    "EvaluationConfig",
    "FullTuning",
    "Layers",
    "LoraTuning",
    "ModelConfig",
    "ProConConstraint",
    "Source",
    "SplitSource",
    "TrialConfig",
    "resolve_layers",
]
