"""What a base model is loaded as, and files that are refused on every rank alike."""

import shutil
from pathlib import Path

import pytest
import torch
from ranks import on_ranks
from tiny import tiny_llama, weights_of

from training.config import TrialConfig
from training.distributed.ranks import rank
from training.distributed.sharding import sharded
from training.errors import ModelError
from training.models.forms import Form, load_as

CPU = torch.device("cpu")
SHARDED = {"deepspeed": {"zero_stage": 3}}

pytestmark = pytest.mark.usefixtures("process")


def form(**settings):
    return Form.of(TrialConfig.model_validate(settings))


def test_trials_that_differ_in_other_things_share_a_form():
    assert form() == form(steps=3, learning_rate=1.0, deepspeed={"zero_stage": 0}) == Form()
    assert form(precision="bf16") != form()
    assert form(tuning={"type": "qlora"}) != form()
    assert form(**SHARDED) != form()
    buckets = {"zero_optimization": {"reduce_bucket_size": 1000}}
    assert form(deepspeed={"zero_stage": 3, "overrides": buckets}) == form(**SHARDED)
    offload = {"zero_optimization": {"offload_param": {"device": "cpu"}}}
    assert form(deepspeed={"zero_stage": 3, "overrides": offload}) != form(**SHARDED)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_shards_are_of_the_model_that_is_loaded_whole(tmp_path, precision):
    tiny_llama().save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    whole = load_as(form(precision=precision), tmp_path, CPU)
    parts = load_as(form(precision=precision, **SHARDED), tmp_path, CPU)
    assert sharded(parts)
    assert not sharded(whole)
    found = weights_of(parts)
    assert all(torch.equal(found[name], weight) for name, weight in weights_of(whole).items())
    for (name, one), (_, other) in zip(parts.named_buffers(), whole.named_buffers(), strict=True):
        assert torch.equal(one, other), name
        assert one.dtype == other.dtype, name


def _folder(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "model", max_shard_size="20KB")
    return tmp_path / "model"


def test_files_that_are_missing_or_cannot_be_streamed_are_refused(tmp_path):
    folder = _folder(tmp_path)
    one = sorted(folder.glob("*.safetensors"))[1]
    kept = one.read_bytes()
    for chosen in (form(), form(**SHARDED)):
        one.unlink()
        with pytest.raises(ModelError, match=f"lacks 1 of the .* the first is {one.name}: download it again"):
            load_as(chosen, folder, CPU)
        one.write_bytes(kept)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"has no weights \(model.safetensors"):
        load_as(form(**SHARDED), folder, CPU)
    torch.save(tiny_llama().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has pickled weights .* alone, which ZeRO 3 cannot read tensor by tensor"):
        load_as(form(**SHARDED), folder, CPU)


def _refusals(directory):
    """Why loading fails, by kind of fault, where each rank has a folder of its own."""
    found = {}
    for kind in ("whole", "missing", "other"):
        try:
            load_as(form(**SHARDED), Path(directory) / kind / str(rank()), CPU)
        except ModelError as error:
            found[kind] = str(error)
    return found


@pytest.mark.xdist_group("ranks")
def test_ranks_with_different_files_all_refuse(tmp_path):
    folder = _folder(tmp_path)
    for kind in ("whole", "missing", "other"):
        for number in range(2):
            shutil.copytree(folder, tmp_path / kind / str(number))
    next(iter((tmp_path / "missing" / "1").glob("*.safetensors"))).unlink()
    config = tmp_path / "other" / "1" / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 2'))
    first, second = on_ranks(2, _refusals, str(tmp_path))
    assert first.keys() == second.keys() == {"missing", "other"}
    assert second["missing"] + " (on rank 1)" == first["missing"]
    assert "lacks 1 of the" in second["missing"]
    for found in (first, second):
        assert "is not the same on every worker (ranks 0 and 1 have different files)" in found["other"]
