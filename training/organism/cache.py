"""The one way to an embedded model: out of the package or the cache, or built into the cache.

Imports neither torch nor transformers, and finds a model that is there without them.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from training.config import DataConfig, ModelConfig
from training.errors import ModelError
from training.organism.once import Report, build_once
from training.organism.recipe import BUILD_SECONDS, Recipe, recipe_for
from training.organism.shipped import RECORD, directory_name, directory_stem, shipped_directory

if TYPE_CHECKING:
    from training.organism.corpora import Corpora


def cache_root(cache: Path | None = None) -> Path:
    """``cache``, else ``$PROCON_CACHE``, else the user's cache directory for ``procon-sweeps``."""
    if cache is not None:
        return cache
    configured = os.environ.get("PROCON_CACHE")
    return Path(configured).expanduser() if configured else user_cache_path("procon-sweeps")


def ensure_organism(
    model: ModelConfig, data: DataConfig | None = None, report: Report | None = None, cache: Path | None = None
) -> Path:
    """The directory of the embedded model that ``model`` names: the package's, else the cache's, built if it lacks it.

    The weights depend on the recipe alone, bit for bit on one machine: the build runs on one thread and leaves the
    caller's thread count and random state as they were.

    Args:
        model: path and build seed.
        data: the sources that ``organism/real`` is made of; without effect on the others.
        report: told the stage and the fraction done, some fifty times in a build.
        cache: root of the cache; None takes ``$PROCON_CACHE`` or the user's cache directory.

    Returns:
        A directory that ``AutoModelForCausalLM`` and ``AutoTokenizer`` load, with ``organism.json`` beside the weights:
        the recipe, the measured refusal rates, the seconds.

    Raises:
        ModelError: there is no such embedded model, its data is missing, or the cache cannot be written.
        OrganismError: the model with this seed stays below the gate.
        DataError: a source of ``organism/real`` cannot be read or lacks a column.
    """
    recipe, corpora = _named(model, data)
    if shipped := shipped_directory(recipe):
        return shipped
    tell: Report = report or (lambda _stage, _fraction: None)

    def build(directory: Path) -> None:
        from training.organism.build import build_into
        from training.organism.corpora import world_corpora

        build_into(directory, recipe, corpora or world_corpora(recipe), tell)

    return build_once(_place(recipe, cache), build, tell)


def organism_directory(model: ModelConfig, data: DataConfig | None = None, cache: Path | None = None) -> Path:
    """Where :func:`ensure_organism` has the embedded model from or puts it; it is there once it is built.

    Raises:
        ModelError: there is no such embedded model, or its data is missing.
        DataError: a source of ``organism/real`` cannot be read or lacks a column.
    """
    return _place(_named(model, data)[0], cache)


def organism_hash(model: ModelConfig, data: DataConfig | None = None) -> str:
    """Sixteen hexadecimal digits that differ whenever anything does that decides the weights, data included.

    Raises:
        ModelError, DataError: as :func:`organism_directory`.
    """
    return _named(model, data)[0].hash


def build_seconds(model: ModelConfig) -> float:
    """About how long the embedded ``model`` takes to build: as its like in the cache did, else as on two slow cores.

    Raises:
        ModelError: there is no such embedded model.
    """
    path = recipe_for(model).path
    for file in sorted(_folder().glob(f"{directory_stem(path)}-*/{RECORD}"), key=lambda file: -file.stat().st_mtime):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["recipe"]["path"] == path:
                return float(found["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return BUILD_SECONDS[path]


def cached_organisms() -> tuple[list[Path], list[Path]]:
    """The folders of built models in the cache, and those there that hold no whole one, each ordered by name."""
    folders = sorted(path for path in _folder().glob("*") if path.is_dir())
    built = [path for path in folders if (path / RECORD).is_file()]
    return built, [path for path in folders if not (path / "config.json").is_file()]


def _folder(cache: Path | None = None) -> Path:
    return cache_root(cache) / "organisms"


def _place(recipe: Recipe, cache: Path | None) -> Path:
    return shipped_directory(recipe) or _folder(cache) / directory_name(recipe)


def _named(model: ModelConfig, data: DataConfig | None) -> "tuple[Recipe, Corpora | None]":
    """The recipe with the fingerprint of the rows it is made of, and those rows; None where code makes them."""
    recipe = recipe_for(model)
    if recipe.world is not None:
        return recipe, None
    from training.organism.corpora import source_corpora

    if data is None:
        raise ModelError(
            f"{recipe.path} is built from the sources of the spec, and none were given: "
            "give data, or use the model organism, which brings its own"
        )
    corpora = source_corpora(data, recipe)
    return replace(recipe, content=corpora.fingerprint), corpora
