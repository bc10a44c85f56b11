import pytest
import torch
from ranks import on_ranks
from resumption import run_cases
from tiny import tiny_llama
from trajectories import trial, tuned_tiny

from training.errors import CheckpointError, ModelError
from training.loop.checkpointing import Checkpointing, latest
from training.loop.export import export, form_of, trained_model_of
from training.models.adapters import attach
from training.models.loading import load_model, load_tokenizer

pytestmark = pytest.mark.usefixtures("process")

LORA = {"tuning": {"type": "lora", "rank": 4}}
FULL = {"tuning": {"type": "full"}, "learning_rate": 1e-3}
IDS = torch.arange(3, 43).view(2, 20)


def at(changes, stage):
    return {**changes, "deepspeed": {"zero_stage": stage}}


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


def train_and_export(changes, tokenizer, directory, checkpoints=None, **settings):
    """Train, export, and return the logits of the model that was exported."""
    where = None if checkpoints is None else Checkpointing(checkpoints, every=3)
    with tuned_tiny(changes, where) as (trained, _):
        before = logits(trained)
        export(trained, tokenizer, directory, **{"form": form_of(trained), **settings})
        assert torch.equal(logits(trained), before)
        assert not torch.allclose(before, logits(tiny_llama()), atol=1e-2)
    return before


@pytest.mark.parametrize("stage", [2, 3])
def test_adapters_load_with_plain_peft(tmp_path, chat_tokenizer, stage):
    from peft import PeftModel

    expected = train_and_export(at(LORA, stage), chat_tokenizer, tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(tiny_llama(), tmp_path / "adapter").eval()
    assert torch.equal(logits(loaded), expected)
    assert load_tokenizer(tmp_path / "adapter").chat_template


def test_a_merged_model_loads_with_plain_transformers(tmp_path, chat_tokenizer):
    from transformers import AutoModelForCausalLM

    expected = train_and_export(at(LORA, 2), chat_tokenizer, tmp_path / "merged", form="model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert not any("lora" in name for name, _ in loaded.named_parameters())
    # W x + B A x against (W + B A) x: float32 sums in another order.
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-4)


def test_a_fully_tuned_model_loads_bit_for_bit(tmp_path, chat_tokenizer):
    from transformers import AutoModelForCausalLM

    expected = train_and_export(at(FULL, 3), chat_tokenizer, tmp_path / "model")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()), expected)


@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
def test_sixteen_bits_consolidated_from_zero_3(tmp_path, chat_tokenizer, changes):
    from transformers import AutoModelForCausalLM

    expected = train_and_export(at(changes, 3), chat_tokenizer, tmp_path / "out", checkpoints=tmp_path / "kept")
    trained = trained_model_of(latest(tmp_path / "kept"), tiny_llama())
    export(trained, chat_tokenizer, tmp_path / "model", form="model", precision="bf16")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    # bfloat16 keeps 8 bits, so the same weights give logits that agree to about 1 %.
    close = logits(loaded.float())
    assert (close - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_checkpoint_becomes_the_model_it_was_made_from(tmp_path, chat_tokenizer, changes, stage):
    expected = train_and_export(at(changes, stage), chat_tokenizer, tmp_path / "out", checkpoints=tmp_path / "kept")
    trained = trained_model_of(latest(tmp_path / "kept"), tiny_llama())
    assert form_of(trained) == ("adapter" if changes is LORA else "model")
    assert torch.equal(logits(trained.eval()), expected)


@pytest.mark.xdist_group("ranks")
@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_checkpoints_of_two_ranks_become_one_model(tmp_path, stage):
    arguments = [
        {"changes": at(changes, stage), "where": {"directory": str(tmp_path / name), "every": 3}}
        for name, changes in (("lora", LORA), ("full", FULL))
    ]
    first, second = on_ranks(2, run_cases, arguments)
    assert first == second
    for name, found in zip(("lora", "full"), first, strict=True):
        trained = trained_model_of(latest(tmp_path / name), tiny_llama())
        weights = [float(p.detach().double().abs().sum()) for p in trained.parameters() if p.requires_grad]
        assert weights == pytest.approx(found["weights"], rel=1e-12)


def test_what_cannot_be_exported_is_refused(tmp_path, chat_tokenizer):
    with pytest.raises(ModelError, match="has no adapters to export"):
        export(tiny_llama(), chat_tokenizer, tmp_path / "x", form="adapter")
    adapted = attach(tiny_llama(), trial(**LORA).tuning, 0)
    adapted.get_base_model().is_quantized = True
    with pytest.raises(ModelError, match="cannot be merged into 4-bit weights without loss"):
        export(adapted, chat_tokenizer, tmp_path / "x", form="model")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ModelError, match="exported as it was trained: merge its adapters"):
        train_and_export(at(LORA, 3), chat_tokenizer, tmp_path / "x", form="model")


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, chat_tokenizer):
    train_and_export(at(FULL, 0), chat_tokenizer, tmp_path / "out", checkpoints=tmp_path / "kept")
    path = latest(tmp_path / "kept")
    with pytest.raises(CheckpointError, match="belongs to another model"):
        trained_model_of(path, tiny_llama(num_hidden_layers=4))
    with pytest.raises(CheckpointError, match="belongs to another model"):
        trained_model_of(path, tiny_llama(intermediate_size=48))
    (path / "checkpoint.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        trained_model_of(path, tiny_llama())


def test_an_export_replaces_one_that_was_there(tmp_path, chat_tokenizer):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    export(tiny_llama(), chat_tokenizer, tmp_path / "model", form="model")
    assert not (tmp_path / "model" / "old").exists()
    assert torch.equal(logits(load_model(tmp_path / "model")), logits(tiny_llama()))
