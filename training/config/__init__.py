"""The schema of one trial: what is trained, on what data, under which constraint, and how it is measured.

Imports neither torch nor transformers, so that ``procon --help`` and spec validation stay instant.
"""

from training.config.base import Config
from training.config.constraint import (
    UNCONSTRAINED,
    AnchorConstraint,
    ConstrainedSftConstraint,
    Constraint,
    FeatureL2Constraint,
    FreezeLayersConstraint,
    KlReferenceConstraint,
    L2InitConstraint,
    ProConConstraint,
    RandomDirectionConstraint,
    SdpConstraint,
    SubspaceConstraint,
)
from training.config.data import COLUMNS, Column, DataConfig, Source, SplitSource
from training.config.deepspeed import DeepSpeedConfig
from training.config.layers import Layers, resolve_layers
from training.config.measurement import DirectionConfig, EvaluationConfig
from training.config.model import ModelConfig
from training.config.strength import ConstraintConfig, Strength
from training.config.trial import ReferencesConfig, TrialConfig
from training.config.tuning import AdapterTuning, FullTuning, LoraTuning, QLoraTuning

__all__ = [
    "COLUMNS",
    "UNCONSTRAINED",
    "AdapterTuning",
    "AnchorConstraint",
    "Column",
    "Config",
    "ConstrainedSftConstraint",
    "Constraint",
    "ConstraintConfig",
    "DataConfig",
    "DeepSpeedConfig",
    "DirectionConfig",
    "EvaluationConfig",
    "FeatureL2Constraint",
    "FreezeLayersConstraint",
    "FullTuning",
    "KlReferenceConstraint",
    "L2InitConstraint",
    "Layers",
    "LoraTuning",
    "ModelConfig",
    "ProConConstraint",
    "QLoraTuning",
    "RandomDirectionConstraint",
    "ReferencesConfig",
    "SdpConstraint",
    "Source",
    "SplitSource",
    "Strength",
    "SubspaceConstraint",
    "TrialConfig",
    "resolve_layers",
]
