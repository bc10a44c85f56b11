"""Which versions of this project and of what decides its numbers are installed; imports none of them."""

import platform
from importlib import metadata

PACKAGES = ("procon-sweeps", "ray", "torch", "transformers", "deepspeed", "peft", "datasets", "mlflow", "optuna")


def versions() -> dict[str, str | None]:
    """Version by package, this project and Python included; None where a package is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
