"""What tells data and models from others of the same name, and knows them again under another."""

import hashlib
import os
from pathlib import Path

from training.config import DataConfig, EvaluationConfig, ModelConfig, Source
from training.errors import TrainingError

_ENDS = 2**20


def data_hashes(data: DataConfig) -> dict[str, str]:
    """SHA-256 of every local file the sweep reads, by path."""
    paths = [path for source in data.sources.values() for path in paths_of(source)]
    return {path: _sha256(Path(path)) for path in dict.fromkeys(paths) if Path(path).is_file()}


def paths_of(source: Source) -> list[str]:
    """Everything that a source reads: local paths, Hub ids, embedded sets."""
    parts = [source.path, source.train.path if source.train else None, source.test.path if source.test else None]
    return [path for part in parts if part is not None for path in ([part] if isinstance(part, str) else part)]


def judge_hashes(evaluation: EvaluationConfig) -> dict[str, str | None]:
    """What tells one version of each model that judges from another, by its path or Hub id."""
    models = [getattr(judge, "model", None) for judge in evaluation.judges if judge.type != "endpoint"]
    return {path: model_hash(ModelConfig(name="judge", path=path)) for path in dict.fromkeys(models) if path}


def model_hash(model: ModelConfig, data: DataConfig | None = None) -> str | None:
    """What tells one version of a model from another without reading gigabytes; None where it cannot be known.

    The recipe of an embedded model, with the rows of ``data`` where it is made of them; the commit of a Hub model in
    the local cache; of a local directory its configurations, and of every file of weights its size and its first and
    last mebibyte.
    """
    if model.embedded:
        from training.organism.cache import organism_hash

        try:
            return organism_hash(model, data)
        except TrainingError:
            return None
    directory = Path(model.path)
    if not directory.is_dir():
        return _hub_commit(model.path)
    digest = hashlib.sha256()
    for path in sorted(file for file in directory.iterdir() if file.suffix in (".json", ".safetensors", ".bin")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, path.stat().st_size - _ENDS))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()


def _hub_commit(repository: str) -> str | None:
    """The commit that the Hub's cache on this machine holds of ``repository``'s main branch."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    reference = home / "hub" / f"models--{repository.replace('/', '--')}" / "refs" / "main"
    try:
        return reference.read_text(encoding="ascii").strip()
    except OSError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
