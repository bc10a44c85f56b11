"""Whether the files of weights in a model's folder are there and whole, read from their headers alone."""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

from training.errors import ModelError

SAFE, SAFE_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_POINTER = b"version https://git-lfs"
_LEGACY_PICKLE = b"\x80\x02"


def check_weights(folder: Path, where: str, *, pickled: bool, streamed: bool = False) -> None:
    """Refuse a folder without weights, or with a file of them that is absent or cut off; 16 GB take milliseconds.

    Args:
        folder: of the model, as transformers saves it.
        where: field of the specification and its value, which errors begin with.
        pickled: whether weights that are not safetensors are taken.
        streamed: whether they must be readable tensor by tensor, for a model that is too large to be read as a whole.

    Raises:
        ModelError: naming the file.
    """
    if (folder / SAFE).exists():
        _check_safetensors(folder / SAFE, where)
    elif (folder / SAFE_INDEX).exists():
        for shard, names in _shards(folder / SAFE_INDEX, where).items():
            _check_safetensors(folder / shard, where, names)
    elif streamed and ((folder / PICKLED).exists() or (folder / PICKLED_INDEX).exists()):
        raise ModelError(
            f"{where} has pickled weights ({PICKLED}) alone, which ZeRO 3 cannot read tensor by tensor: load it with "
            f"transformers and save_pretrained it, which writes {SAFE}, or set deepspeed.zero_stage to 0, 1 or 2"
        )
    elif not pickled and ((folder / PICKLED).exists() or (folder / PICKLED_INDEX).exists()):
        raise pickled_alone(where)
    elif (folder / PICKLED).exists():
        _check_pickled(folder / PICKLED, where)
    elif (folder / PICKLED_INDEX).exists():
        for shard in _shards(folder / PICKLED_INDEX, where):
            _check_pickled(folder / shard, where)
    else:
        raise ModelError(
            f"{where} has no weights ({SAFE}, or {SAFE_INDEX} with its files): copy them there, or download it again"
        )


def pickled_alone(where: str) -> ModelError:
    """Why a model without safetensors is refused."""
    return ModelError(
        f"{where} has pickled weights ({PICKLED}) alone: load it with transformers and save_pretrained it, which "
        f"writes {SAFE}, or set pickled_weights: true beside its path if you trust where it comes from"
    )


def files_fingerprint(folder: Path) -> str:
    """A hash of the configuration, and of the names and sizes of the files of weights, which are not read."""
    digest = hashlib.sha256((folder / "config.json").read_bytes() if (folder / "config.json").exists() else b"")
    for pattern in ("*.safetensors", "*.index.json", "pytorch_model*.bin"):
        for file in sorted(folder.glob(pattern)):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def _shards(index: Path, where: str) -> dict[str, list[str]]:
    """Names of tensors by file, as the index tells."""
    try:
        placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards: dict[str, list[str]] = {}
        for tensor, file in placed.items():
            shards.setdefault(str(file), []).append(tensor)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{where}: {index.name} cannot be read ({error}): download it again") from error
    absent = [file for file in shards if not (index.parent / file).is_file()]
    if absent:
        raise ModelError(
            f"{where} lacks {len(absent)} of the {len(shards)} files of weights that {index.name} names, the first is "
            f"{absent[0]}: download it again"
        )
    return shards


def _check_safetensors(file: Path, where: str, names: Iterable[str] = ()) -> None:
    from safetensors import SafetensorError, safe_open

    _refuse_pointer(file, where)
    try:
        with safe_open(file, framework="np") as opened:  # compares its header with the file's size
            there = set(opened.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{where}: {file.name} ({file.stat().st_size:,} bytes) is cut off or damaged ({error}): download it again"
        ) from error
    absent = [name for name in names if name not in there]
    if absent:
        raise ModelError(f"{where}: {file.name} lacks the tensor {absent[0]} that the index names: download it again")


def _check_pickled(file: Path, where: str) -> None:
    _refuse_pointer(file, where)
    with file.open("rb") as opened:
        legacy = opened.read(2) == _LEGACY_PICKLE
    if not legacy and not zipfile.is_zipfile(file):  # the directory of a zip file is at its end
        raise ModelError(
            f"{where}: {file.name} ({file.stat().st_size:,} bytes) is cut off or damaged: download it again"
        )


def _refuse_pointer(file: Path, where: str) -> None:
    with file.open("rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            raise ModelError(f"{where}: {file.name} is a git-lfs pointer and no weights: run git lfs pull there")
