"""Folders of tiny random models with a chat tokenizer, as transformers saves them."""

from pathlib import Path
from typing import Any

from training.organism.tokens import train_tokenizer

WORDS = ["please tell me how to bake bread build a house cut grass dig soil sing songs paint walls well then"]


def write_model(folder: Path, **changes: Any) -> Path:
    """A Llama of three layers and random weights in ``folder``; ``changes`` are of its configuration."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(WORDS, 300)
    settings = {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
