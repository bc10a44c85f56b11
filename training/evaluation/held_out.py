"""What the model can do without generating: its loss on held-out responses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from training.data.chat import EncodedSample
from training.distributed.lockstep import in_step
from training.models.batching import BatchSize, in_batches, measuring, pad
from training.models.loading import base_model
from training.models.logits import reduced_logits
from training.models.room import rows_read


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
    def rows(self) -> list[tuple[float, int, bool]]:
        """Loss, tokens and match of each sample."""
        return list(zip(self.losses, self.tokens, self.matched, strict=True))

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[float, int, bool]]) -> Self:
        """What has these :attr:`rows`."""
        return cls([loss for loss, _, _ in rows], [count for _, count, _ in rows], [hit for _, _, hit in rows])

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

    def of(self, chosen: Sequence[int]) -> Self:
        """The part of the samples at the indices ``chosen``."""
        rows = self.rows
        return self.of_rows([rows[index] for index in chosen])


def held_out(model: torch.nn.Module, samples: Sequence[EncodedSample], *, batch_size: int | BatchSize = 64) -> HeldOut:
    """One forward pass over held-out samples; sums in float64.

    All ranks must call it where the model is sharded, with whatever samples each has.

    Raises:
        ModelError: memory does not suffice for a single sample.
    """
    base = base_model(model)
    losses, tokens, matched = [0.0] * len(samples), [0] * len(samples), [True] * len(samples)
    with measuring(base), in_step(base, base.device) as forward:

        def scores(batch: list[int]) -> tuple[list[int], Tensor]:
            chosen = [samples[index] for index in batch]
            ids, mask = pad([sample.input_ids for sample in chosen], padding_id=0, side="right", device=base.device)
            starts = torch.tensor([sample.response_start for sample in chosen], device=base.device)
            place = torch.arange(ids.shape[1], device=base.device)
            response = (place >= starts[:, None]) & mask.bool()
            wanted, where = ids[response], response.flatten().nonzero().flatten()

            def of(logits: Tensor, part: slice) -> Tensor:
                loss = functional.cross_entropy(logits.float(), wanted[part], reduction="none").double()
                return torch.stack([loss, (logits.argmax(dim=-1) == wanted[part]).double()], dim=-1)

            # The position before a token predicts it; no response begins a row.
            each = reduced_logits(base, lambda: forward(input_ids=ids, use_cache=False), where - 1, of)
            return response.sum(dim=1).tolist(), each.cpu()

        lengths = [len(sample.input_ids) for sample in samples]
        for batch, (sizes, each) in in_batches(lengths, batch_size, scores, rows_read(base)):
            for index, size, found in zip(batch, sizes, torch.split(each, sizes), strict=True):
                losses[index], tokens[index] = float(found[:, 0].sum()), size
                matched[index] = bool(found[:, 1].all())
    return HeldOut(losses, tokens, matched)
