import pytest
import torch
from tiny import random_samples, tiny_llama

from training.config import LoraTuning
from training.errors import ModelError
from training.models.adapters import attach, detach
from training.models.depth import model_depth
from training.models.loading import base_model, decoder_layers, load_model, load_tokenizer, model_fingerprint
from training.models.logits import response_logits
from training.models.residual import capture

SMALL = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
ARCHITECTURES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 1.0},
    "phi": {},
    "gpt_neox": {"num_key_value_heads": None},
}


def tiny(kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {name: value for name, value in {**SMALL, **ARCHITECTURES[kind]}.items() if value is not None}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("site", ["block_input", "block_output"])
def test_captured_states_are_the_residual_stream_of_every_architecture(kind, site):
    model = tiny(kind)
    assert len(decoder_layers(model)) == 3
    ids = torch.randint(3, 300, (2, 9))
    with torch.no_grad(), capture(model, [0, 1, 2], site) as states:
        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
        shift = 0 if site == "block_input" else 1
        for layer in range(3 - shift):  # the last entry of hidden_states comes after the final norm
            torch.testing.assert_close(states[layer], hidden[layer + shift])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_logits_at_the_response_are_the_models_own(kind):
    model = tiny(kind)
    batch = random_samples().collate([3, 11, 20])
    with torch.no_grad():
        whole = model(input_ids=batch.input_ids).logits.flatten(0, 1)[batch.predicting]
        torch.testing.assert_close(response_logits(model, batch), whole)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_adapters_are_transparent_until_trained_and_leave_no_trace(kind):
    model = tiny(kind)
    ids = torch.randint(3, 300, (2, 9))
    names = [name for name, _ in model.named_modules()]
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    fingerprint = model_fingerprint(model)
    for seed in (0, 0, 1):  # twice and again: a warm slot does this for every trial
        with torch.no_grad():
            before = model(input_ids=ids).logits
        adapted = attach(model, LoraTuning(rank=2), seed)
        assert base_model(adapted) is model
        with torch.no_grad():
            assert torch.equal(adapted(input_ids=ids).logits, before)
        for name, parameter in adapted.named_parameters():
            assert parameter.requires_grad == ("lora_" in name)
            if "lora_" in name:
                parameter.data.normal_()
        assert detach(adapted) is model
        assert [name for name, _ in model.named_modules()] == names
        assert all(torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters())
        assert model_fingerprint(model) == fingerprint


def test_adapter_weights_follow_the_seed_and_leave_the_global_generator_alone():
    def first_weights(seed):
        adapted = attach(tiny_llama(), LoraTuning(rank=2), seed)
        return torch.cat([p.detach().flatten() for n, p in adapted.named_parameters() if "lora_A" in n])

    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    model = tiny_llama
    state = torch.random.get_rng_state()
    assert torch.equal(first_weights(4), first_weights(4))
    assert not torch.equal(first_weights(4), first_weights(5))
    torch.random.set_rng_state(state)
    attach_only = model()
    torch.manual_seed(123)
    attach(attach_only, LoraTuning(rank=2), 9)
    assert torch.equal(torch.rand(1), expected)


def test_targets_that_name_no_module_are_refused():
    with pytest.raises(ModelError, match=r"tuning\.targets \(\['nothing'\]\) names no module of LlamaForCausalLM"):
        attach(tiny_llama(), LoraTuning(targets=["nothing"]), 0)


class TestFingerprint:
    def test_same_weights_same_fingerprint_wherever_they_come_from(self, tmp_path):
        model = tiny_llama()
        model.save_pretrained(tmp_path)
        assert model_fingerprint(load_model(tmp_path)) == model_fingerprint(model)

    @pytest.mark.parametrize("index", [0, -1])
    def test_one_changed_weight_changes_it(self, index):
        model = tiny_llama()
        before = model_fingerprint(model)
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight.flatten()[index] += 0.5
        assert model_fingerprint(model) != before

    def test_precision_changes_it(self):
        assert model_fingerprint(tiny_llama().bfloat16()) != model_fingerprint(tiny_llama())


class TestLoading:
    def test_depth_is_read_from_the_configuration(self, tmp_path):
        tiny_llama().save_pretrained(tmp_path)
        assert model_depth(tmp_path) == 3

    @pytest.mark.parametrize("load", [load_model, load_tokenizer, model_depth])
    def test_nothing_there(self, load, tmp_path):
        with pytest.raises(ModelError, match=str(tmp_path)):
            load(tmp_path)

    def test_a_tokenizer_without_a_template_is_refused(self, tmp_path, chat_tokenizer):
        chat_tokenizer.save_pretrained(tmp_path)
        assert load_tokenizer(tmp_path).chat_template
        (tmp_path / "chat_template.jinja").unlink()
        with pytest.raises(ModelError, match="no chat template"):
            load_tokenizer(tmp_path)
