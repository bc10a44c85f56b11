"""What the model can do without generating: its loss on held-out responses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from training.data.chat import EncodedSample
from training.models.batching import length_sorted_batches, measuring, pad
from training.models.loading import base_model
from training.models.logits import logits_at


@dataclass(frozen=True)
class HeldOut:
    """What teacher forcing on held-out samples says of each."""

    losses: list[float]
    """Cross-entropy summed over the response tokens of a sample, in nats."""
    tokens: list[int]
    """Response tokens of a sample."""
    matched: list[bool]
    """Whether every response token was the most probable one: greedy decoding would say exactly the response."""

    @property
    def loss(self) -> float:
        """Mean cross-entropy over all response tokens of all samples, in nats per token (training's own average)."""
        return sum(self.losses) / sum(self.tokens)

    @property
    def error(self) -> float:
        """Standard error of :attr:`loss` over samples (of a ratio of means); infinite for a single sample."""
        count = len(self.losses)
        if count < 2:
            return math.inf
        mean = self.loss
        squares = sum((loss - mean * size) ** 2 for loss, size in zip(self.losses, self.tokens, strict=True))
        return math.sqrt(squares * count / (count - 1)) / sum(self.tokens)

    def of(self, chosen: Sequence[int]) -> "HeldOut":
        """The part of the samples at the indices ``chosen``."""
        return HeldOut(
            [self.losses[index] for index in chosen],
            [self.tokens[index] for index in chosen],
            [self.matched[index] for index in chosen],
        )


def held_out(model: torch.nn.Module, samples: Sequence[EncodedSample], *, batch_size: int = 64) -> HeldOut:
    """One forward pass over held-out samples; sums in float64."""
    base = base_model(model)
    losses, tokens, matched = [0.0] * len(samples), [0] * len(samples), [True] * len(samples)
    with measuring(base):
        for batch in length_sorted_batches([sample.input_ids for sample in samples], batch_size):
            chosen = [samples[index] for index in batch]
            ids, mask = pad([sample.input_ids for sample in chosen], padding_id=0, side="right", device=base.device)
            starts = torch.tensor([sample.response_start for sample in chosen], device=base.device)
            place = torch.arange(ids.shape[1], device=base.device)
            response = (place >= starts[:, None]) & mask.bool()
            before = functional.pad(response[:, 1:], (0, 1))  # the position before a token predicts it
            logits = logits_at(base, ids, before)
            wanted = ids[response]
            sizes = response.sum(dim=1).tolist()
            each = functional.cross_entropy(logits, wanted, reduction="none").double()
            hits = logits.argmax(dim=-1) == wanted
            for index, size, loss, hit in zip(
                batch, sizes, torch.split(each, sizes), torch.split(hits, sizes), strict=True
            ):
                losses[index], tokens[index], matched[index] = float(loss.sum()), size, bool(hit.all())
    return HeldOut(losses, tokens, matched)
