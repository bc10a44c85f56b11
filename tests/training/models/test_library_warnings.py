"""What libraries deprecate is for us to read, not for users: a generation in a process of its own is silent."""

import subprocess
import sys
from pathlib import Path

import pytest

GENERATION = """
import sys
import torch
from transformers import DynamicCache
from training.models.loading import load_model
model = load_model(sys.argv[1])
ids = torch.tensor([[1, 2, 3]])
first = model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True)
model(input_ids=ids[:, :1], past_key_values=first.past_key_values, use_cache=True)
import warnings
warnings.warn("something else", FutureWarning)
"""


@pytest.mark.slow
def test_a_generation_prints_no_deprecation(tiny_model: Path) -> None:
    command = [sys.executable, "-c", GENERATION, str(tiny_model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "past_key_values" not in done.stderr
    assert "something else" in done.stderr, "only what was meant is silent"


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=32, **shape)).save_pretrained(tmp_path)
    return tmp_path
