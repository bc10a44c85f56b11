"""Number of decoder layers of a model, without loading anything of it."""

import json
from pathlib import Path

from training.config import ModelConfig
from training.errors import ModelError


def depth_of(model: ModelConfig) -> int:
    """Number of decoder layers of ``model``, of an embedded one by its recipe.

    Raises:
        ModelError: the configuration cannot be read.
    """
    if model.embedded:
        from training.organism.recipe import recipe_for

        return recipe_for(model).depth
    return model_depth(model.path)


def model_depth(path: str | Path) -> int:
    """Number of decoder layers of the model at ``path``, read from its configuration only.

    Raises:
        ModelError: the configuration cannot be read.
    """
    written = _written_depth(Path(path) / "config.json")
    if written is not None:
        return written
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"no model configuration could be read from {path}: {error}") from error
    return int(config.get_text_config().num_hidden_layers)


def _written_depth(file: Path) -> int | None:
    """What a local configuration says in so many words; None leaves it to transformers, whose import takes seconds."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    depth = config.get("num_hidden_layers") if isinstance(config, dict) and "model_type" in config else None
    return depth if isinstance(depth, int) and depth > 0 else None
