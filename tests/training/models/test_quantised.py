"""QLoRA: 4-bit base weights under adapters. Needs a CUDA device and bitsandbytes."""

from pathlib import Path

import pytest
import torch
from tiny import tiny_llama

from training.config import QLoraTuning
from training.models.adapters import attach, detach
from training.models.quantised import load_quantised_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_only_adapters_of_a_4_bit_model_learn(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    tiny_llama().save_pretrained(tmp_path)
    model = load_quantised_model(tmp_path, "bf16", torch.device("cuda", 0))
    assert any(module.__class__.__name__ == "Linear4bit" for module in model.modules())
    adapted = attach(model, QLoraTuning(), seed=0)
    tokens = torch.arange(2, 34, device="cuda").reshape(2, 16)
    before = adapted(input_ids=tokens, labels=tokens).loss
    before.backward()
    learning = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    assert learning
    assert all("lora_" in name for name in learning)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        loss = adapted(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
    assert loss < before
    detach(adapted)
