"""Width of a model's residual stream, without loading anything of it."""

import json
from pathlib import Path


def written_width(directory: Path) -> int | None:
    """What the configuration in ``directory`` says in so many words; None where it says nothing."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    width = config.get("hidden_size") if isinstance(config, dict) else None
    return width if isinstance(width, int) and width > 0 else None
