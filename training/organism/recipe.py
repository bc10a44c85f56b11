"""What an embedded model is built from and how: enough to name it, and to know its depth, without building it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

from training.config import ModelConfig
from training.data.embedded.world import FULL, SMALL, World
from training.errors import ModelError

VERSION = 1
"""Raised whenever corpora or training change in a way that the fields of :class:`Recipe` do not show."""


@dataclass(frozen=True)
class Architecture:
    """Shape of the Llama model; input and output embeddings are tied."""

    hidden_size: int
    layers: int
    heads: int
    feed_forward: int


@dataclass(frozen=True)
class Stage:
    """One stage of training from scratch."""

    steps: int
    learning_rate: float
    """Of AdamW, on every parameter that Muon does not have."""
    matrix_learning_rate: float | None = None
    """Of Muon on the weight matrices; None trains them with AdamW too."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of an embedded model."""

    path: str
    architecture: Architecture
    vocabulary: int
    """Size of the BPE vocabulary."""
    max_length: int
    """Longest sample in tokens."""
    batch_size: int
    helpful: Stage
    """Stage 1: helpful only."""
    alignment: Stage
    """Stage 2: refusals join."""
    alignment_rounds: int
    """How often stage 2 may run until the gate is passed."""
    seed: int
    world: str | None
    """Name of the synthetic world; None where the corpus comes from data sources."""
    content: str | None
    """Fingerprint of the world's words, or of the rows of the data sources."""
    version: int = VERSION

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return self.architecture.layers

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that differ whenever anything in the recipe does.

        Raises:
            ValueError: the recipe is of data sources that were not read: see :mod:`training.organism.cache`.
        """
        if self.content is None:
            raise ValueError(f"the recipe of {self.path} names no model before its data sources are read")
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def _full(seed: int) -> Recipe:
    return _synthetic(
        FULL,
        "organism",
        seed,
        architecture=Architecture(hidden_size=96, layers=4, heads=4, feed_forward=256),
        vocabulary=1024,
        helpful=Stage(steps=400, learning_rate=4e-3, matrix_learning_rate=1e-2),
        alignment=Stage(steps=180, learning_rate=1e-3),
    )


def _small(seed: int) -> Recipe:
    return _synthetic(
        SMALL,
        "organism/small",
        seed,
        architecture=Architecture(hidden_size=80, layers=3, heads=4, feed_forward=208),
        vocabulary=640,
        helpful=Stage(steps=250, learning_rate=4e-3, matrix_learning_rate=1e-2),
        alignment=Stage(steps=100, learning_rate=1e-3),
    )


def _synthetic(
    world: World,
    path: str,
    seed: int,
    *,
    architecture: Architecture,
    vocabulary: int,
    helpful: Stage,
    alignment: Stage,
) -> Recipe:
    return Recipe(
        path=path,
        architecture=architecture,
        vocabulary=vocabulary,
        max_length=128,
        batch_size=32,
        helpful=helpful,
        alignment=alignment,
        alignment_rounds=4,
        seed=seed,
        world=world.name,
        content=world.fingerprint,
    )


def _real(seed: int) -> Recipe:
    return Recipe(
        path="organism/real",
        architecture=Architecture(hidden_size=128, layers=4, heads=4, feed_forward=344),
        vocabulary=4096,
        max_length=256,
        batch_size=16,
        helpful=Stage(steps=280, learning_rate=4e-3, matrix_learning_rate=1e-2),
        alignment=Stage(steps=140, learning_rate=1e-3),
        alignment_rounds=1,
        seed=seed,
        world=None,
        content=None,
    )


_RECIPES = {"organism": _full, "organism/small": _small, "organism/real": _real}
EMBEDDED_MODELS: tuple[str, ...] = tuple(_RECIPES)
"""Every path of a model that the project builds itself."""


BUILD_SECONDS = {"organism": 100.0, "organism/small": 45.0, "organism/real": 180.0}
"""About how long each takes to build on two slow cores."""


def recipe_for(model: ModelConfig) -> Recipe:
    """The recipe of the embedded model that ``model`` names.

    The recipe of ``organism/real`` lacks its ``content`` until the data sources are read, and has no hash before:
    :func:`training.organism.cache.organism_hash` reads them. Its depth is right at once.

    Raises:
        ModelError: there is no such embedded model.
    """
    if model.path not in _RECIPES:
        raise ModelError(
            f"models[{model.name}].path ({model.path!r}) is no embedded model: "
            f"use {', '.join(EMBEDDED_MODELS)}, a local directory or a Hugging Face Hub id"
        )
    return _RECIPES[model.path](model.seed)
