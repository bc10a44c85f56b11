"""Packed rows train exactly what single rows do."""

import numpy as np
import pytest
import torch
from tiny import random_direction, random_samples, references_of, tiny_llama
from trajectories import trajectory

from training.config import ProConConstraint, TrialConfig
from training.constraints import build_constraint
from training.data.packing import first_fit_decreasing
from training.errors import ModelError
from training.loop.loss import ConstrainedLoss
from training.models.logits import model_inputs, response_logits
from training.models.packing_probe import packing_fault

INDICES = np.random.default_rng(3).permutation(40)[:17]
ROW = 40


@pytest.mark.parametrize("seed", range(5))
def test_samples_never_overlap_and_few_rows_are_used(seed):
    lengths = np.random.default_rng(seed).integers(1, 60, 50)
    rows, columns = first_fit_decreasing(lengths, 64)
    used = np.zeros((rows.max() + 1, 64), int)
    for row, column, length in zip(rows, columns, lengths, strict=True):
        used[row, column : column + length] += 1
    assert used.max() == 1
    assert len(used) <= np.ceil(lengths.sum() / 64) * 11 / 9 + 1


def test_a_sample_longer_than_a_row_stands_alone():
    rows, columns = first_fit_decreasing(np.array([3, 90, 4]), 64)
    assert rows.tolist() == [1, 0, 1]
    assert columns.tolist() == [4, 0, 0]


def test_everything_per_response_token_stands_as_in_an_unpacked_batch():
    samples = random_samples()
    single, packed = samples.collate(INDICES), samples.collate(INDICES, ROW)
    assert packed.input_ids.shape[0] < single.input_ids.shape[0]
    assert packed.samples == single.samples == len(INDICES)
    assert torch.equal(packed.targets, single.targets)
    assert torch.equal(packed.sample, single.sample)
    flat, positions = packed.input_ids.flatten(), packed.position_ids.flatten()
    assert torch.equal(flat[packed.response], packed.targets)
    assert torch.equal(flat[packed.predicting], single.input_ids.flatten()[single.predicting])
    assert torch.equal(positions[packed.response], single.response % single.input_ids.shape[1])
    moved = packed.to(torch.device("cpu"))
    assert moved.packed == len(INDICES)
    assert torch.equal(moved.position_ids, packed.position_ids)


def _tiny(architecture):
    from transformers import (
        AutoModelForCausalLM,
        Gemma2Config,
        GPTNeoXConfig,
        MistralConfig,
        Qwen3Config,
    )

    common = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    rest = {"intermediate_size": 32, "max_position_embeddings": 128, "pad_token_id": 0}
    grouped = {"num_key_value_heads": 1, "head_dim": 8}
    configs = {
        "gemma2, sliding windows": lambda: Gemma2Config(**common, **rest, **grouped, sliding_window=6),
        "mistral, sliding windows": lambda: MistralConfig(**common, **rest, num_key_value_heads=1, sliding_window=6),
        "gpt-neox": lambda: GPTNeoXConfig(**common, **rest),
        "qwen3": lambda: Qwen3Config(**common, **rest, **grouped),
    }
    torch.manual_seed(0)
    if architecture == "llama":
        return tiny_llama()
    return AutoModelForCausalLM.from_config(configs[architecture]()).eval()


@pytest.mark.parametrize(
    "architecture", ["llama", "gemma2, sliding windows", "mistral, sliding windows", "gpt-neox", "qwen3"]
)
def test_logits_are_those_of_single_rows(architecture):
    model, samples = _tiny(architecture), random_samples()
    with torch.no_grad():
        single = response_logits(model, samples.collate(INDICES))
        packed = response_logits(model, samples.collate(INDICES, ROW))
    torch.testing.assert_close(packed, single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["abs", "squared", "token_l2"])
def test_loss_penalty_and_gradients_are_those_of_single_rows(norm):
    samples, direction = random_samples(), random_direction()
    references = references_of(tiny_llama(), samples, direction).of(INDICES, [0, 1, 2])
    found = []
    for row_length in (None, ROW):
        model = tiny_llama()
        with torch.no_grad():  # away from the initial model, where the penalty is zero
            for number, parameter in enumerate(model.parameters()):
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
                parameter += 0.02 * noise
        constraint = build_constraint(ProConConstraint(alpha=1.0, norm=norm), direction, torch.device("cpu"))
        objective = ConstrainedLoss(model, constraint)
        loss, penalty = objective(samples.collate(INDICES, row_length), references, True)
        (loss + penalty).backward()
        found.append((loss.detach(), penalty.detach(), [p.grad for p in model.parameters()]))
    single, packed = found
    assert single[1] > 0
    torch.testing.assert_close(packed, single, rtol=1e-4, atol=2e-4)
    torch.testing.assert_close(packed[:2], single[:2], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("changes", [{}, {"micro_batch_size": 4, "tuning": {"type": "full"}, "learning_rate": 1e-3}])
def test_a_packed_training_follows_the_unpacked_one(changes):
    single, packed = (trajectory({**changes, "packing": packing, "max_length": ROW}) for packing in (False, True))
    assert packed["loss"] == pytest.approx(single["loss"], rel=1e-4)
    assert packed["penalty"] == pytest.approx(single["penalty"], rel=5e-3, abs=1e-4)


def test_flash_attention_gets_one_row_of_variable_lengths():
    model, batch = tiny_llama(), random_samples().collate(INDICES, ROW)
    model.config._attn_implementation_internal = "flash_attention_2"
    inputs = model_inputs(model, batch)
    assert inputs["input_ids"].shape == inputs["position_ids"].shape == (1, batch.input_ids.numel())
    assert torch.equal(inputs["input_ids"][0][batch.response], batch.targets)
    # transformers cuts the row wherever the position falls back to 0: at every sample, and at every token of padding.
    starts = (inputs["position_ids"][0] == 0).sum()
    padding = batch.input_ids.numel() - int(random_samples().lengths[INDICES].sum())
    assert starts == len(INDICES) + padding


def _tiny_hybrid():
    from transformers import Lfm2Config, Lfm2ForCausalLM

    torch.manual_seed(0)
    settings = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}
    return Lfm2ForCausalLM(
        Lfm2Config(**settings, **heads, layer_types=["full_attention", "conv"], block_auto_adjust_ff_dim=False)
    ).eval()


def test_a_hybrid_model_is_told_where_samples_begin_and_packs_exactly_with_kernels_that_listen(monkeypatch):
    """The kernels are CUDA's; here their promise is kept by the reference, run once per sample."""
    from transformers.models.lfm2 import modeling_lfm2

    def convolve_apart(hidden, weight, bias=None, activation=None, seq_idx=None, **_others):
        alone = []
        for number in range(int(seq_idx.max()) + 1):
            part = hidden[..., seq_idx[0] == number]
            padding = weight.shape[-1] - 1
            out = torch.nn.functional.conv1d(part, weight[:, None], bias, padding=padding, groups=part.shape[1])
            alone.append(out[..., : part.shape[-1]])
        return torch.cat(alone, dim=-1)

    model, samples = _tiny_hybrid(), random_samples()
    assert "causal_conv1d" in packing_fault(model, samples)
    single = response_logits(model, samples.collate(INDICES)).detach()
    monkeypatch.setattr(modeling_lfm2, "causal_conv1d_fn", convolve_apart)
    packed = response_logits(model, samples.collate(INDICES, ROW)).detach()
    torch.testing.assert_close(packed, single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_probe_sees_a_leak_and_no_rounding(precision, monkeypatch):
    from training.models import logits

    model, samples = tiny_llama().to(precision), random_samples()
    assert packing_fault(model, samples) is None
    # Without masks, and with positions that go on, a sample sees those before it in its row.
    monkeypatch.setattr(logits, "packed_inputs", lambda _model, batch: {"input_ids": batch.input_ids})
    assert "reach into each other" in packing_fault(model, samples)


@pytest.mark.usefixtures("process")
class TestDecision:
    @pytest.fixture
    def hybrid(self, tmp_path, chat_tokenizer):
        from benches import bench, write_files

        write_files(tmp_path, chat_tokenizer)
        _tiny_hybrid().save_pretrained(tmp_path / "model")
        made = bench(tmp_path)
        made.prepare()
        return made

    def trial(self, packing):
        settings = {"steps": 1, "batch_size": 4, "packing": packing, "max_length": 64, "constraint": {"alpha": 0.0}}
        return TrialConfig.model_validate(settings)

    def test_packing_is_refused_where_it_leaks(self, hybrid):
        with pytest.raises(ModelError, match=r"trial\.packing \(true\) cannot be had for tiny: .*write auto or false"):
            hybrid.run(self.trial(True), lambda _report: False)

    def test_auto_goes_on_without_and_says_so(self, hybrid):
        for _ in range(2):
            hybrid.run(self.trial("auto"), lambda _report: False)
        said = [warning for warning in hybrid.warnings if "without packing" in warning]
        assert len(said) == 1
        assert "tiny is trained without packing (trial.packing is auto)" in said[0]

    def test_auto_packs_where_it_is_exact(self, tmp_path, chat_tokenizer):
        from benches import bench, write_files

        write_files(tmp_path, chat_tokenizer)
        made = bench(tmp_path)
        made.prepare()
        trial = self.trial("auto")
        assert made._packing.decided(trial, made._data.of(trial)[0]).packing is True
        assert not [warning for warning in made.warnings if "packing" in warning]


def test_old_and_new_values_are_valid():
    assert TrialConfig().row_length is None
    assert TrialConfig(packing=True).row_length == 512
    assert TrialConfig(packing="auto").packing == "auto"
    assert TrialConfig(packing="auto").row_length is None
