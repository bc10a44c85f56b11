"""Where prompts and responses come from."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from training.config.base import Config

Column = Literal["prompt", "response", "answer", "request", "family"]
COLUMNS: tuple[Column, ...] = ("prompt", "response", "answer", "request", "family")
"""Columns the loader knows: the request text, the target text, the short gold answer (optional), the phrase a
compliant answer would echo (optional), and the task family that accuracy is broken down by (optional)."""


class SplitSource(Config):
    """One explicitly named split."""

    path: str | list[str]
    """*.parquet | *.jsonl | *.csv | an embedded set (organism/<set>) | a Hub id; a list is concatenated in order."""
    split: str | None = None
    """Keep the rows whose ``split`` column equals this; None keeps every row."""


class Source(Config):
    """A set of prompts (and responses) with a train and a test split."""

    path: str | list[str] | None = None
    """*.parquet | *.jsonl | *.csv | an embedded set (organism/<set>) | a Hub id; a list is concatenated in order. Its
    own ``split`` column (train, test) decides, else a seeded 50/50 split by distinct prompt."""
    train: SplitSource | None = None
    """An explicit train split; goes with ``test``."""
    test: SplitSource | None = None
    """An explicit test split; goes with ``train``. Prompts it shares with ``train`` are dropped from ``train``."""
    columns: dict[Column, str] = Field(default_factory=dict)
    """Names of the columns where they differ from prompt, response, answer, request, family."""
    split_seed: int = 0
    """Seed of the 50/50 split of a source without splits of its own."""
    limit: int | None = Field(default=None, ge=1)
    """Keep at most this many rows of each split, drawn with ``split_seed``; None keeps all."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.path is None and (self.train is None or self.test is None):
            raise ValueError("needs either path, or both train and test")
        if self.path is not None and (self.train or self.test):
            raise ValueError("has path as well as train/test: keep one of the two forms")
        return self


class DataConfig(Config):
    """The sources of a trial, and any number of further sets that it is only measured on."""

    task: Source
    """Fine-tuning samples (prompt, response); utility is measured on its test split."""
    safety: Source
    """Harmful prompts with refusals, mixed in by ``trial.safety_share`` or ``trial.safety_count``."""
    harmful: Source
    """Harmful prompts: the refusal direction comes from train, attack success is measured on test."""
    harmless: Source
    """Ordinary prompts: the other side of the direction (train), and refusals that should not be (test)."""
    borderline: Source
    """Safe prompts that sound harmful: over-refusal is measured on test."""
    malicious: Source | None = None
    """Harmful prompts with answers that comply, of which ``trial.malicious_count`` are mixed into the task, an attack:
    its train split where it marks one, else all of its rows."""
    harmful_sets: dict[str, Source] = Field(default_factory=dict)
    """More harmful prompts by name, for evaluation only: attack success is measured on each set's test split."""
    borderline_sets: dict[str, Source] = Field(default_factory=dict)
    """More borderline prompts by name: over-refusal is measured on each set's test split."""
    capability_sets: dict[str, Source] = Field(default_factory=dict)
    """General capability beside the task, by name, so that forgetting shows: accuracy on each set's test split."""

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        seen = set(SINGLE_SOURCES) | {"direct"}
        for field in NAMED_SOURCES:
            for name in getattr(self, field):
                check_name(name, field)
                if name in seen:
                    raise ValueError(f"{field} ({name}) is the name of another set already: choose one of its own")
                seen.add(name)
        return self

    @property
    def sources(self) -> dict[str, Source]:
        """Every source by the dotted name that the specification gives it, such as ``harmful_sets.advbench``."""
        named = {f"{field}.{name}": source for field in NAMED_SOURCES for name, source in getattr(self, field).items()}
        single = {field: getattr(self, field) for field in SINGLE_SOURCES}
        return {field: source for field, source in single.items() if source is not None} | named

    def with_sources(self, sources: Mapping[str, Source]) -> "DataConfig":
        """A copy with the sources that ``sources`` gives by dotted name; it must give all of them."""
        tree: dict[str, Any] = {field: {} for field in NAMED_SOURCES}
        for dotted, source in sources.items():
            field, _, name = dotted.partition(".")
            if name:
                tree[field][name] = source
            else:
                tree[field] = source
        return DataConfig(**tree)


SINGLE_SOURCES = ("task", "safety", "harmful", "harmless", "borderline", "malicious")
"""Fields of :class:`DataConfig` that are one source; the last may be absent."""
TRAINED_ON = ("safety", "malicious")
"""Those of them that nothing is measured on."""
NAMED_SOURCES = ("harmful_sets", "borderline_sets", "capability_sets")
"""Fields of :class:`DataConfig` that are sources by name."""


def check_name(name: str, field: str) -> None:
    """Refuse a name that cannot be part of a metric's.

    Raises:
        ValueError: it is not made of a-z, 0-9, _ and -.
    """
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise ValueError(f"{field} ({name!r}) is no usable name: write it with a-z, 0-9, _ and - only")
