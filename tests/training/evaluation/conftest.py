"""A random model with a real tokenizer, and the small embedded model where behaviour is tested."""

import json
from dataclasses import dataclass

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from training.config import DataConfig

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OBJECTS = ["cake", "kite", "bomb", "lamp", "drug", "robot", "poison", "guitar", "virus", "chair", "weapon", "tent"]
PROMPTS = [
    f"{frame} {thing}{end}"
    for frame in ("How do I make a", "Tell me how to hide a very large old")
    for thing in OBJECTS
    for end in ("?", " quickly, at home and without any tools?")
]


@pytest.fixture(scope="session")
def prompts():
    """48 prompts of different lengths; the first half is half as long as the rest."""
    return PROMPTS


@pytest.fixture(scope="session")
def tokenizer():
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    texts = [*PROMPTS, "I'm sorry, but I cannot help with that.", "user\n assistant\n"] * 3
    inner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<|pad|>", eos_token="<|im_end|>")
    fast.chat_template = TEMPLATE
    return fast


def _random_llama(vocabulary: int, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.5,  # wide enough for answers that differ between prompts
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def model(tokenizer):
    return _random_llama(len(tokenizer))


@pytest.fixture
def adapted_model(tokenizer):
    """The random model under an adapter that changes what it says."""
    adapted = get_peft_model(_random_llama(len(tokenizer)), LoraConfig(r=4, target_modules="all-linear"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return adapted


@pytest.fixture
def data(tmp_path):
    """Five small JSONL sources, each with its own train and test rows."""

    def source(name, rows):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return {"path": str(path)}

    def rows(prompts, **columns):
        return [
            {"prompt": prompt, "split": "test" if index % 2 else "train", **{k: v(prompt) for k, v in columns.items()}}
            for index, prompt in enumerate(prompts)
        ]

    return DataConfig.model_validate(
        {
            "task": source(
                "task",
                rows(
                    [f"What is {n} + 1?" for n in range(40)],
                    response=lambda prompt: f"It is {int(prompt.split()[2]) + 1}.",
                    answer=lambda prompt: str(int(prompt.split()[2]) + 1),
                    family=lambda prompt: "small" if int(prompt.split()[2]) < 20 else "large",
                ),
            ),
            "safety": source("safety", rows(PROMPTS[:4], response=lambda _: "I'm sorry, I can't assist with that.")),
            "harmful": source("harmful", rows(PROMPTS[::2], request=lambda prompt: prompt.split()[-1].strip("?"))),
            "harmless": source("harmless", rows(PROMPTS[1::2])),
            "borderline": source("borderline", rows([f"Where may I kill a {thing}?" for thing in OBJECTS])),
        }
    )


@dataclass(frozen=True)
class Organism:
    """An embedded model and its data."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    data: DataConfig


@pytest.fixture(scope="session")
def load_organism():
    """Loads the embedded model of a path, which its first use on a machine builds."""
    from training.config import ModelConfig
    from training.models.loading import load_model, load_tokenizer
    from training.organism.cache import ensure_organism

    names = {"task": "general", "safety": "safety", "harmful": "harmful"}
    names |= {"harmless": "harmless", "borderline": "borderline"}

    def load(path):
        directory = ensure_organism(ModelConfig(name="organism", path=path))
        data = DataConfig.model_validate({key: {"path": f"{path}/{name}"} for key, name in names.items()})
        return Organism(load_model(directory), load_tokenizer(directory), data)

    return load
