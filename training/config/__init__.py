"""The schema of one trial: what is trained, on what data, under which constraint, and how it is measured.

Imports neither torch nor transformers, so that ``procon --help`` and spec validation stay instant.
"""

from training.config.attacks import AttackConfig
from training.config.base import LONGEST_NAME, Config
from training.config.constraint import (
    UNCONSTRAINED,
    AnchorConstraint,
    ConstrainedSftConstraint,
    Constraint,
    FeatureL2Constraint,
    FreezeLayersConstraint,
    KlReferenceConstraint,
    L2InitConstraint,
    NullSpaceConstraint,
    PluginConstraint,
    ProConConstraint,
    RandomDirectionConstraint,
    SafeGradConstraint,
    SdpConstraint,
    SubspaceConstraint,
)
from training.config.data import COLUMNS, TRAINED_ON, Column, DataConfig, Source, SplitSource
from training.config.deepspeed import DeepSpeedConfig
from training.config.direction import CausalConfig, DirectionConfig
from training.config.extraction import Extractor, ExtractorConfig
from training.config.generator import Generator, TransformersGenerator, VllmGenerator
from training.config.judges import (
    Asks,
    ClassifierJudge,
    EchoJudge,
    EndpointJudge,
    GenerativeJudge,
    JudgeConfig,
    PhrasesJudge,
    PluginJudge,
)
from training.config.layers import RECOMMENDED, Layers, resolve_layers
from training.config.lm_eval import LmEvalConfig
from training.config.measurement import EvaluationConfig, check_names
from training.config.model import ModelConfig, ReasoningMarks
from training.config.places import looks_local
from training.config.plugins import OrPlugin, load_plugin, plugin_names, plugin_versions
from training.config.sharing import beginning, shared_steps
from training.config.strength import ConstraintConfig, Strength
from training.config.trial import ReferencesConfig, TrialConfig
from training.config.tuning import AdapterTuning, FullTuning, LoraTuning, QLoraTuning

__all__ = [
    "COLUMNS",
    "LONGEST_NAME",
    "RECOMMENDED",
    "TRAINED_ON",
    "UNCONSTRAINED",
    "AdapterTuning",
    "AnchorConstraint",
    "Asks",
    "AttackConfig",
    "CausalConfig",
    "ClassifierJudge",
    "Column",
    "Config",
    "ConstrainedSftConstraint",
    "Constraint",
    "ConstraintConfig",
    "DataConfig",
    "DeepSpeedConfig",
    "DirectionConfig",
    "EchoJudge",
    "EndpointJudge",
    "EvaluationConfig",
    "Extractor",
    "ExtractorConfig",
    "FeatureL2Constraint",
    "FreezeLayersConstraint",
    "FullTuning",
    "GenerativeJudge",
    "Generator",
    "JudgeConfig",
    "KlReferenceConstraint",
    "L2InitConstraint",
    "Layers",
    "LmEvalConfig",
    "LoraTuning",
    "ModelConfig",
    "NullSpaceConstraint",
    "OrPlugin",
    "PhrasesJudge",
    "PluginConstraint",
    "PluginJudge",
    "ProConConstraint",
    "QLoraTuning",
    "RandomDirectionConstraint",
    "ReasoningMarks",
    "ReferencesConfig",
    "SafeGradConstraint",
    "SdpConstraint",
    "Source",
    "SplitSource",
    "Strength",
    "SubspaceConstraint",
    "TransformersGenerator",
    "TrialConfig",
    "VllmGenerator",
    "beginning",
    "check_names",
    "load_plugin",
    "looks_local",
    "plugin_names",
    "plugin_versions",
    "resolve_layers",
    "shared_steps",
]
