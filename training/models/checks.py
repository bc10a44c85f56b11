"""What a model must be like for anything measured here to mean what it says; tried out on a few tokens.

Architectures are many and new ones come; what this program relies on is asked of each model, whatever it is called.
"""

import math

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.errors import ModelError
from training.models.batching import measuring, pad
from training.models.decoding import prefill
from training.models.loading import decoder, decoder_layers
from training.models.residual import capture

_LENGTHS = (12, 7)
"""Tokens of the two random prompts."""
_OF_ROUNDING = 8.0
"""Differences up to so many times those between two batch shapes are rounding."""


def check_model(model: PreTrainedModel) -> None:
    """Refuse a model whose architecture breaks what hooks, references and generation rely on.

    One residual stream ``[batch, seq, d_model]`` must run from layer to layer, no token may reach those before it
    (prompts are padded on the right without a mask), padding on the left under a mask must leave the next token alone,
    and the model must keep a cache. Half a dozen forward passes over a dozen tokens.

    Args:
        model: the initial model, without adapters; of one in shards all ranks must call it.

    Raises:
        ModelError: one of it does not hold.
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary = int(model.config.get_text_config().vocab_size)
    prompts = [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in _LENGTHS]
    with measuring(model):
        _check_stream(model, prompts[0])
        alone = [_next(model, [prompt]) for prompt in prompts]
        rounding = max(
            _difference(_next(model, [prompt, prompt])[:1], one) for prompt, one in zip(prompts, alone, strict=True)
        )
        limit = max(_OF_ROUNDING * rounding, math.sqrt(torch.finfo(model.dtype).eps))
        _check_causal(model, prompts[0], limit)
        _check_padding(model, prompts, torch.cat(alone), limit)


def _check_stream(model: PreTrainedModel, prompt: list[int]) -> None:
    name, layers = type(model).__name__, range(len(decoder_layers(model)))
    width = int(model.config.get_text_config().hidden_size)
    ids = torch.tensor([prompt], device=model.device)
    with capture(model, layers, "block_input") as entering, capture(model, layers, "block_output") as leaving:
        decoder(model)(input_ids=ids, use_cache=False)
        for layer in layers:
            if layer not in leaving:
                raise ModelError(f"{name} does not run its decoder layer {layer}: it cannot be constrained there")
            shape = tuple(leaving[layer].shape)
            if shape != (1, len(prompt), width):
                raise ModelError(
                    f"{name} has no single residual stream: decoder layer {layer} puts out {list(shape)}, not "
                    f"[batch, seq, d_model] = {[1, len(prompt), width]}; directions and constraints are not defined "
                    "there, so that this architecture cannot be used"
                )
            if layer and not torch.equal(entering[layer], leaving[layer - 1]):
                raise ModelError(
                    f"{name} changes the residual stream between its decoder layers {layer - 1} and {layer}, where "
                    "nothing is read: this architecture cannot be used"
                )


def _check_causal(model: PreTrainedModel, prompt: list[int], limit: float) -> None:
    kept = len(prompt) // 2
    ids = torch.tensor([prompt, [*prompt[:kept], *([0] * (len(prompt) - kept))]], device=model.device)
    last = len(decoder_layers(model)) - 1
    with capture(model, [last]) as leaving:
        decoder(model)(input_ids=ids, use_cache=False)
        first, second = leaving[last][:, :kept]
    if _difference(first, second) > limit:
        raise ModelError(
            f"{type(model).__name__} is not causal: tokens reach those before them, so that padding would change what "
            "is measured; this architecture cannot be used"
        )


def _check_padding(model: PreTrainedModel, prompts: list[list[int]], alone: Tensor, limit: float) -> None:
    padded = _next(model, prompts)
    if _difference(padded, alone) > limit:
        raise ModelError(
            f"{type(model).__name__} continues a prompt otherwise when it is padded on the left, in spite of the mask: "
            "answers of several prompts at once would be wrong; this architecture cannot be used"
        )


def _next(model: PreTrainedModel, prompts: list[list[int]]) -> Tensor:
    """Logits ``[prompts, vocabulary]`` of the next token, float32, as generation asks for them.

    Raises:
        ModelError: there is no cache to go on from.
    """
    ids, mask = pad(prompts, padding_id=0, side="left", device=model.device)
    output = prefill(model, ids, mask)
    if getattr(output, "past_key_values", None) is None:
        raise ModelError(f"{type(model).__name__} keeps no cache (past_key_values): answers cannot be generated")
    logits: Tensor = output.logits[:, -1].float()
    return logits


def _difference(found: Tensor, expected: Tensor) -> float:
    """Mean over rows of their distance, in parts of the spread of what was expected."""
    found, expected = found.float(), expected.float()
    spread = (expected - expected.mean(dim=-1, keepdim=True)).norm(dim=-1)
    return float(((found - expected).norm(dim=-1) / spread).mean())
