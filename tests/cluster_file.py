"""``cluster.yaml`` as it stands, and as its comments say that a reader makes the on-premise variant of it."""

import re
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "cluster.yaml"


def aws() -> dict[str, Any]:
    """The file itself."""
    config = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(config, dict)
    return config


def on_premise() -> dict[str, Any]:
    """The commented block in place of the blocks that it names."""
    block = re.search(r"^# >>> on premise\n(.*?)^# <<< on premise", FILE.read_text(encoding="utf-8"), re.M | re.S)
    assert block is not None
    variant = yaml.safe_load(re.sub(r"^# ?", "", block[1], flags=re.M))
    config = aws()
    for name in ("max_workers", "provider", "auth", "head_node_type", "available_node_types"):
        del config[name]
    return {**config, **variant}
