"""Where a model is: the one place that tells an embedded model, which may have to be built, from any other.

Imports neither torch nor transformers.
"""

from pathlib import Path

from training.config import DataConfig, ModelConfig
from training.organism.cache import ensure_organism, organism_directory
from training.organism.once import Report


def model_path(model: ModelConfig, data: DataConfig, report: Report | None = None) -> str:
    """What ``AutoModelForCausalLM`` and ``AutoTokenizer`` load ``model`` from: a directory, or a Hub id.

    An embedded model that neither the package nor the cache has is built first.

    Args:
        model: embedded or not.
        data: the sources that ``organism/real`` is made of; without effect on any other.
        report: told the stage of a build and the fraction done.

    Raises:
        ModelError, OrganismError, DataError: as :func:`training.organism.cache.ensure_organism`.
    """
    return str(ensure_organism(model, data, report)) if model.embedded else model.path


def local_directory(model: ModelConfig, data: DataConfig) -> Path | None:
    """The folder of ``model`` on this machine; None for an embedded model that is not built yet, and for a Hub id.

    Raises:
        ModelError: there is no such embedded model.
        DataError: a source that the model is made of cannot be read.
    """
    folder = organism_directory(model, data) if model.embedded else Path(model.path)
    return folder if folder.is_dir() else None
