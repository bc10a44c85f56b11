"""The code that computes attention, chosen by name."""

import pytest
import torch
from tiny import tiny_llama

from training.config import ModelConfig
from training.errors import ModelError
from training.models.attention import attention_fault, use_attention


def test_eager_and_sdpa_are_set_and_compute_the_same() -> None:
    model, ids = tiny_llama(), torch.arange(3, 19)[None]
    logits = {}
    for name in ("eager", "sdpa"):
        use_attention(model, name)
        assert model.config._attn_implementation == name
        logits[name] = model(input_ids=ids).logits
    torch.testing.assert_close(logits["eager"], logits["sdpa"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3", "kernels-community/flash-attn2"])
def test_what_needs_a_gpu_is_refused_without(name: str) -> None:
    with pytest.raises(ModelError, match=f"attn_implementation \\({name}\\) needs a CUDA device"):
        use_attention(tiny_llama(), name)


def test_a_package_that_is_absent_is_named() -> None:
    fault = attention_fault("flash_attention_3", gpu=True)
    assert fault is not None
    assert "needs the package flash-attn-3" in fault
    assert "the package kernels" in (attention_fault("kernels-community/flash-attn2", gpu=True) or "")
    assert attention_fault("eager", gpu=False) is None


@pytest.mark.parametrize("name", ["flash", "owner/kernel/more", "a b/c"])
def test_another_name_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ValueError, match="is not known: use sdpa, eager"):
        ModelConfig(name="m", path="organism", attn_implementation=name)


@pytest.mark.parametrize("name", [None, "sdpa", "flash_attention_2", "kernels-community/flash-attn3:flash", "a/b@v1"])
def test_names_of_transformers_are_taken(name: str | None) -> None:
    assert ModelConfig(name="m", path="organism", attn_implementation=name).attn_implementation == name
