"""How a trial is measured."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from training.config.attacks import AttackConfig
from training.config.base import Config
from training.config.data import NAMED_SOURCES, SINGLE_SOURCES, DataConfig, check_name
from training.config.extraction import Extractor, ExtractorConfig
from training.config.generator import Generator, TransformersGenerator
from training.config.judges import Judges, default_judges
from training.config.lm_eval import LmEvalConfig
from training.config.plugins import plugin_names

TRAINED_SCALE = 1.0
"""The trained model's place on the line from the untouched one (0); see :mod:`training.loop.scaling`."""


class EvaluationConfig(Config):
    """Which held-out prompts a trial is measured on, and how its answers are judged."""

    harmful: PositiveInt = 200
    """Prompts of each harmful set for the attack success and compliance rates."""
    harmless: PositiveInt = 200
    """Harmless test prompts for the refusals that should not be."""
    borderline: PositiveInt = 100
    """Prompts of each borderline set for over-refusal."""
    task: PositiveInt = 200
    """Task test samples for accuracy and held-out loss."""
    capability: PositiveInt = 200
    """Samples of each capability set for its accuracy."""
    report_share: float = Field(default=0.5, ge=0, lt=1)
    """Share of every set that is kept for the report, which the search never sees; 0 searches and reports on all."""
    attacks: list[AttackConfig] = Field(default_factory=list)
    """Jailbreaks that all harmful prompts are put through besides being asked directly."""
    generator: Generator = TransformersGenerator()
    """Who writes the answers: the model in training, or a vLLM server that each trial's adapter is loaded into."""
    judges: Judges = Field(default_factory=default_judges)
    """Who judges the answers, and all are reported. The first judge that asks ``refused`` decides attack success; where
    there is none, the first that asks ``complied`` does. That one decides compliance."""
    extractor: Extractor = ExtractorConfig()
    """How the answers to task and capability prompts are read: auto, exact, numeric, choice, or a regular expression
    as ``{type: regex, pattern: …}``."""
    extractors: dict[str, Extractor] = Field(default_factory=dict)
    """Another one for a task family or a capability set, by its name."""
    lm_eval: LmEvalConfig | None = None
    """Tasks of lm-evaluation-harness beside these sets, asked once a trial is trained; null leaves them out."""
    metrics: list[str] = Field(default_factory=list)
    """Metrics of other installed packages to measure besides, by their names in the entry point group
    ``procon.metrics``."""
    scales: list[float] = Field(default_factory=list)
    """Models between the untouched one (0) and each trained one (1) that are measured too, as W0 + scale (W - W0): they
    cost no training. Forward passes come first, and only those that they foretell to be on the front are asked for
    answers. Beyond 1, up to 2, goes on in the same direction."""
    scales_of: Literal["foretold", "all", "plain"] = "foretold"
    """Which scaled models of searched trials are asked for answers: those that forward passes foretell to be on the
    front, all, or as a baseline all of trainings without a constraint and none of others. References' always are."""
    max_new_tokens: PositiveInt = 48
    """Longest answer generated, in tokens."""
    max_length: PositiveInt = 512
    """Longest prompt in tokens, and longest held-out sample; a longer prompt loses its start."""
    batch_size: PositiveInt = 1024
    """Prompts answered at once, at most: as many as memory has room for, halved for good where it runs out."""
    strict: bool = False
    """Refuse evaluation prompts that are training prompts too, instead of warning of them."""
    keep_answers: bool | None = None
    """Keep prompts and answers as text; None keeps those of the embedded models only. Verdicts are always kept."""
    seed: int = 0
    """Seed of the draw of prompts and of their split; the same prompts measure every trial of a sweep."""

    @field_validator("metrics")
    @classmethod
    def _declared(cls, metrics: list[str]) -> list[str]:
        for name in metrics:
            there = plugin_names("procon.metrics")
            if name not in there:
                others = f"use one of {', '.join(there)}" if there else "remove it"
                raise ValueError(
                    f"metrics ({name}) is declared by no installed package: install the one that has it, or {others}"
                )
            if metrics.count(name) > 1:
                raise ValueError(f"metrics ({name}) is named twice: remove one")
        return metrics

    @field_validator("scales")
    @classmethod
    def _between(cls, scales: list[float]) -> list[float]:
        for scale in scales:
            if not 0 < scale <= 2:
                why = "is the untouched model, which is a reference" if scale == 0 else "lies too far out"
                raise ValueError(f"scales ({scale:g}) {why}: write numbers above 0 and up to 2, as [0.25, 0.5, 0.75]")
            if scale != round(scale, 4):
                raise ValueError(f"scales ({scale!r}) has more than four decimals, by which models are named: round it")
            if scales.count(scale) > 1:
                raise ValueError(f"scales ({scale:g}) is listed twice: remove one")
        return scales

    @property
    def derived_scales(self) -> tuple[float, ...]:
        """Scales but 1, which is the trained model itself, ascending."""
        return tuple(sorted(scale for scale in self.scales if scale != TRAINED_SCALE))

    @model_validator(mode="after")
    def _distinct_attacks(self) -> Self:
        names = [attack.name for attack in self.attacks]
        for name in names:
            check_name(name, "attacks")
            if name in ("direct", "harmful") or names.count(name) > 1:
                raise ValueError(f"attacks ({name}) is a name already in use: choose one of its own")
        return self

    def keeps_text(self, *, embedded: bool) -> bool:
        """Whether prompts and answers are kept as text, for an embedded model or for any other."""
        return embedded if self.keep_answers is None else self.keep_answers


def check_names(data: DataConfig, evaluation: EvaluationConfig) -> None:
    """Refuse an attack that is called like a set, since both name a metric.

    Raises:
        ValueError: naming the attack.
    """
    sets = {*SINGLE_SOURCES, *(name for field in NAMED_SOURCES for name in getattr(data, field))}
    for attack in evaluation.attacks:
        if attack.name in sets:
            raise ValueError(f"evaluation.attacks ({attack.name}) is the name of a set in data: choose another")
