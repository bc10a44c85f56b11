import dataclasses
import json

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.direction.vectors import Direction, difference_of_means, extract_direction, last_prompt_states
from training.errors import DirectionError
from training.models.interventions import ablated_direction, added_vector, clamped_direction

VOCABULARY = 64
HARMFUL = [f"how to build bomb number {n}" for n in range(9)]
HARMLESS = [f"please bake one cake for the {n} guests that come tonight" for n in range(7)]


def word_tokenizer():
    """Whole words as tokens; the chat template is a closing mark."""
    words = sorted({word for prompt in HARMFUL + HARMLESS for word in prompt.split()})
    vocabulary = {word: number for number, word in enumerate(["<end>", "<unknown>", ">", *words])}
    assert len(vocabulary) <= VOCABULARY
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.chat_template = "{{ messages[0]['content'] }} >"
    return fast


def llama(width=16):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=3, n_head=2, initializer_range=0.3)
    ).eval()


@pytest.mark.parametrize("build", [llama, gpt2])
@pytest.mark.parametrize("site", ["block_input", "block_output"])
def test_states_equal_those_of_single_prompts(build, site):
    model, tokenizer = build(), word_tokenizer()
    prompts = HARMFUL + HARMLESS
    states = last_prompt_states(model, tokenizer, prompts, site, batch_size=4)
    assert states.shape == (16, 3, 16)
    for prompt, state in zip(prompts, states, strict=True):
        ids = torch.tensor(tokenizer([prompt + " >"], add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
        # hidden_states[layer] is the input of block `layer`; the entry after the last block has passed the final norm
        first = 0 if site == "block_input" else 1
        for layer in range(2):
            torch.testing.assert_close(state[layer], hidden[layer + first][0, -1], rtol=1e-4, atol=1e-5)


def test_the_direction_is_the_unit_difference_of_means():
    model, tokenizer = llama(), word_tokenizer()
    direction = extract_direction(model, tokenizer, HARMFUL, HARMLESS, model_fingerprint="m")
    difference = last_prompt_states(model, tokenizer, HARMFUL).mean(0) - last_prompt_states(
        model, tokenizer, HARMLESS
    ).mean(0)
    torch.testing.assert_close(direction.unit * direction.separation[:, None], difference, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(direction.unit.norm(dim=-1), torch.ones(3))
    assert (direction.harmful_prompts, direction.harmless_prompts, direction.model) == (9, 7, "m")
    assert (direction.layers, direction.width) == (3, 16)


def test_what_gives_no_direction():
    model, tokenizer = llama(), word_tokenizer()
    with pytest.raises(DirectionError, match="cannot be told apart at layer 0"):
        extract_direction(model, tokenizer, HARMFUL, HARMFUL[::-1])
    with pytest.raises(DirectionError, match="no harmless prompts"):
        extract_direction(model, tokenizer, HARMFUL, [])
    with pytest.raises(DirectionError, match="use block_input or block_output"):
        extract_direction(model, tokenizer, HARMFUL, HARMLESS, site="middle")
    broken = torch.ones(2, 2, 4)
    broken[0, 1] = torch.nan
    with pytest.raises(DirectionError, match="layer 1"):
        difference_of_means(broken, torch.zeros(2, 2, 4))


def test_means_of_large_values_keep_small_differences():
    """In float32 the sum of a million values near 1e4 loses a difference of 0.01."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 1, 8, generator=generator)
    offset = torch.zeros(8)
    offset[3] = 0.05
    unit, separation = difference_of_means(1e4 + noise + offset, 1e4 + noise)
    assert float(unit[0, 3]) == pytest.approx(1.0, abs=1e-3)
    assert float(separation[0]) == pytest.approx(0.05, rel=0.02)


@pytest.fixture
def direction():
    return extract_direction(llama(), word_tokenizer(), HARMFUL, HARMLESS, model_fingerprint="abc")


def test_round_trip(direction, tmp_path):
    direction.save(tmp_path / "new")
    loaded = Direction.load(tmp_path / "new", expected_model="abc", width=16)
    assert loaded.fingerprint == direction.fingerprint
    assert torch.equal(loaded.unit, direction.unit)
    assert torch.equal(loaded.separation, direction.separation)
    assert (loaded.site, loaded.harmful_prompts, loaded.harmless_prompts) == ("block_output", 9, 7)
    dropped = dataclasses.replace(direction, dropped_harmful=3, dropped_harmless=1)
    dropped.save(tmp_path / "dropped")
    loaded = Direction.load(tmp_path / "dropped")
    assert (loaded.dropped_harmful, loaded.dropped_harmless) == (3, 1)
    assert loaded.fingerprint == direction.fingerprint


def test_fingerprint_follows_the_content(direction):
    other = Direction(-direction.unit, direction.separation, direction.site, direction.model, 9, 7)
    elsewhere = Direction(direction.unit, direction.separation, direction.site, "another", 9, 7)
    assert len({direction.fingerprint, other.fingerprint, elsewhere.fingerprint}) == 3


def test_a_direction_of_another_model_is_refused(direction, tmp_path):
    direction.save(tmp_path)
    with pytest.raises(DirectionError, match="made for model abc, not xyz"):
        Direction.load(tmp_path, expected_model="xyz")
    with pytest.raises(DirectionError, match="16 wide, but the model's residual stream is 32 wide"):
        Direction.load(tmp_path, width=32)


def test_a_damaged_direction_is_refused(direction, tmp_path):
    with pytest.raises(DirectionError, match="no readable direction"):
        Direction.load(tmp_path)
    direction.save(tmp_path)
    metadata = json.loads((tmp_path / "direction.json").read_text())
    (tmp_path / "direction.json").write_text(json.dumps({**metadata, "model": "forged"}))
    with pytest.raises(DirectionError, match="own fingerprint"):
        Direction.load(tmp_path)
    (tmp_path / "direction.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DirectionError, match="no readable direction"):
        Direction.load(tmp_path)


@pytest.mark.parametrize("build", [llama, gpt2])
def test_ablation_leaves_nothing_along_the_direction(build):
    model, tokenizer = build(), word_tokenizer()
    untouched = last_prompt_states(model, tokenizer, HARMFUL)
    unit = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(1)), dim=0)
    with ablated_direction(model, unit):
        for site in ("block_input", "block_output"):
            inside = last_prompt_states(model, tokenizer, HARMFUL, site)
            assert float((inside @ unit).abs().max()) < 1e-4
    assert torch.equal(last_prompt_states(model, tokenizer, HARMFUL), untouched)


@pytest.mark.parametrize("build", [llama, gpt2])
def test_clamping_sets_the_projection_after_every_block(build):
    model, tokenizer = build(), word_tokenizer()
    untouched = last_prompt_states(model, tokenizer, HARMFUL)
    unit = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(1)), dim=0)
    targets = torch.tensor([0.5, -2.0, 7.0])
    with clamped_direction(model, unit, targets):
        held = last_prompt_states(model, tokenizer, HARMFUL)
    torch.testing.assert_close(held @ unit, targets.expand(len(HARMFUL), 3), rtol=1e-4, atol=1e-4)
    across = untouched[:, 0] - (untouched[:, 0] @ unit)[:, None] * unit
    torch.testing.assert_close(held[:, 0] - 0.5 * unit, across, rtol=1e-4, atol=1e-4)
    assert torch.equal(last_prompt_states(model, tokenizer, HARMFUL), untouched)


@pytest.mark.parametrize("site", ["block_input", "block_output"])
def test_addition_moves_one_layer_by_the_vector(site):
    model, tokenizer = llama(), word_tokenizer()
    untouched = last_prompt_states(model, tokenizer, HARMFUL)
    vector = torch.arange(16.0)
    with added_vector(model, vector, 1, site):
        moved = last_prompt_states(model, tokenizer, HARMFUL)
    torch.testing.assert_close(moved[:, 0], untouched[:, 0])
    if site == "block_output":
        torch.testing.assert_close(moved[:, 1], untouched[:, 1] + vector)
    else:
        assert not torch.allclose(moved[:, 1], untouched[:, 1])
    assert torch.equal(last_prompt_states(model, tokenizer, HARMFUL), untouched)
