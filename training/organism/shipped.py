"""The embedded models that come with the package: built once, so that every machine has the same weights.

CPUs round differently, and the same recipe gives another model on each; what a page says of a shipped model holds
wherever the package is installed. ``procon organism build`` builds one anew and compares.
"""

from pathlib import Path

from training.organism.recipe import Recipe

FOLDER = Path(__file__).parent / "weights"
RECORD = "organism.json"
"""What a built model was made from and what was measured of it, beside its weights."""


def shipped_directory(recipe: Recipe) -> Path | None:
    """The model directory of exactly ``recipe`` within the package; None for another seed, or where it lacks one."""
    directory = FOLDER / directory_name(recipe)
    return directory if directory.is_dir() else None


def directory_name(recipe: Recipe) -> str:
    """What the folder of a built model is called, here and in the cache."""
    return f"{directory_stem(recipe.path)}-{recipe.hash}"


def directory_stem(path: str) -> str:
    """What the folders of all models built for ``path``, such as ``organism/small``, begin with."""
    return path.replace("/", "-")
