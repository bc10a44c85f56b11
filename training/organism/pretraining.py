"""Training a tiny language model from scratch, fast on one core."""

import math
import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.data.chat import EncodedSample
from training.organism.recipe import Architecture, Stage

_WARMUP_STEPS = 20
_WINDOW = 8  # batches that are sorted by length together: little padding, and still well mixed


def new_model(architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A randomly initialised Llama model for ``tokenizer``; draws from the global generator of torch."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        intermediate_size=architecture.feed_forward,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.03,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    progress = max(0, step - _WARMUP_STEPS) / max(1, steps - _WARMUP_STEPS)
    return warmup * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    model: LlamaForCausalLM,
    samples: Sequence[EncodedSample],
    stage: Stage,
    batch_size: int,
    seed: int,
    after_step: Callable[[int], None],
) -> float:
    """Train ``model`` in place on the responses of ``samples``.

    Args:
        model: every parameter is trained.
        samples: gone through in a new order each epoch.
        stage: steps and learning rates.
        batch_size: samples per step.
        seed: of the order of the samples.
        after_step: called with the number of steps done.

    Returns:
        Mean loss of the last ten steps.
    """
    optimizers = _optimizers(model, stage)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    order = _batches([len(sample.input_ids) for sample in samples], batch_size, random.Random(f"order {seed}"))
    losses: list[float] = []
    model.train()
    for step in range(stage.steps):
        factor = learning_rate_factor(step, stage.steps)
        for optimizer, rates in zip(optimizers, peaks, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        loss = _response_loss(model, [samples[index] for index in next(order)])
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
        after_step(step + 1)
    model.eval()
    return sum(losses[-10:]) / len(losses[-10:])


def _optimizers(model: LlamaForCausalLM, stage: Stage) -> list[torch.optim.Optimizer]:
    named = list(model.named_parameters())
    matrices = [
        weight
        for name, weight in named
        if stage.matrix_learning_rate is not None and weight.ndim == 2 and "embed_tokens" not in name
    ]
    taken = {id(weight) for weight in matrices}
    rest = [weight for _, weight in named if id(weight) not in taken]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    ]
    if stage.matrix_learning_rate is not None:
        # Muon reaches in 300 steps a loss of .21 where AdamW alone stands at .55.
        optimizers.append(
            torch.optim.Muon(matrices, lr=stage.matrix_learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def _batches(lengths: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
    """Endless batches of indices; samples of one batch are of like length."""
    while True:
        order = list(range(len(lengths)))
        rng.shuffle(order)
        for start in range(0, len(order), _WINDOW * batch_size):
            window = sorted(order[start : start + _WINDOW * batch_size], key=lambda index: lengths[index])
            batches = [window[low : low + batch_size] for low in range(0, len(window), batch_size)]
            rng.shuffle(batches)
            yield from batches


def _response_loss(model: LlamaForCausalLM, samples: Sequence[EncodedSample]) -> Tensor:
    """Mean cross-entropy over all response tokens; the output head runs at those only."""
    longest = max(len(sample.input_ids) for sample in samples)
    tokens = torch.zeros(len(samples), longest, dtype=torch.long)
    is_response = torch.zeros(len(samples), longest, dtype=torch.bool)
    for row, sample in enumerate(samples):
        tokens[row, : len(sample.input_ids)] = torch.tensor(sample.input_ids)
        is_response[row, sample.response_start : len(sample.input_ids)] = True
    # Attention is causal, so padding on the right needs no mask.
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    predicted = is_response[:, 1:]
    return functional.cross_entropy(model.lm_head(hidden[:, :-1][predicted]), tokens[:, 1:][predicted])
