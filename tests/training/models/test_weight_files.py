"""Whether files of weights are whole, by real ones and by what is left of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from training.errors import ModelError
from training.models.weight_files import check_weights

FIELD = "models.0.path (there)"


def index_of(folder: Path, placed: dict[str, str], name: str = "model.safetensors.index.json") -> None:
    (folder / name).write_text(json.dumps({"weight_map": placed}))


def refused(folder: Path, says: str) -> None:
    with pytest.raises(ModelError, match=says) as error:
        check_weights(folder, FIELD, pickled=True)
    assert str(error.value).startswith(FIELD)


def test_one_whole_file_is_taken_and_a_cut_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    refused(tmp_path, "has no weights")
    save_file({"a": np.ones((4, 4), np.float32)}, file)
    check_weights(tmp_path, FIELD, pickled=True)
    file.write_bytes(file.read_bytes()[:-1])
    refused(tmp_path, "model.safetensors .* is cut off or damaged")


def test_every_shard_must_be_there_and_hold_what_the_index_says(tmp_path: Path) -> None:
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index_of(tmp_path, shards)
    save_file({"a": np.ones(2, np.float32)}, tmp_path / shards["a"])
    refused(tmp_path, "lacks 1 of the 2 files of weights .* the first is model-2.safetensors")
    save_file({"c": np.ones(2, np.float32)}, tmp_path / shards["b"])
    refused(tmp_path, "model-2.safetensors lacks the tensor b")
    save_file({"b": np.ones(2, np.float32)}, tmp_path / shards["b"])
    check_weights(tmp_path, FIELD, pickled=True)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused(tmp_path, "index.json cannot be read")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_weights_are_told_whole_by_their_ends(tmp_path: Path, legacy: bool) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(64)}, file, _use_new_zipfile_serialization=not legacy)
    check_weights(tmp_path, FIELD, pickled=True)
    if not legacy:
        file.write_bytes(file.read_bytes()[:-30])
        refused(tmp_path, "pytorch_model.bin .* is cut off or damaged")


def test_a_pointer_to_weights_is_none(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        refused(tmp_path, f"{name} is a git-lfs pointer")


def test_pickled_weights_alone_have_to_be_asked_for(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(64)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has pickled weights \(pytorch_model\.bin\) alone: .*pickled_weights: true"):
        check_weights(tmp_path, FIELD, pickled=False)
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model.safetensors")
    check_weights(tmp_path, FIELD, pickled=False)
