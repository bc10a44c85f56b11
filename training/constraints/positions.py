"""Which tokens a constraint looks at, padded or packed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from training.data.samples import Batch, Integers, Samples

Tokens = Literal["response", "last_prompt", "all"]


@dataclass(frozen=True)
class Positions:
    """Chosen tokens of a batch, sample after sample."""

    index: Tensor
    """``[tokens]`` into the flattened ``[batch * seq]`` positions."""
    sample: Tensor
    """``[tokens]`` number of the sample that each belongs to."""


def tokens_of(samples: Samples, tokens: Tokens) -> Integers:
    """``[samples]`` how many tokens of each sample are looked at."""
    if tokens == "response":
        return samples.response_lengths
    return samples.lengths if tokens == "all" else np.ones(len(samples), np.int64)


def positions_of(batch: Batch, tokens: Tokens) -> Positions:
    """Where the chosen tokens stand in ``batch``.

    Args:
        batch: samples, each with at least one prompt and one response token.
        tokens: every response token, the last prompt token (whose output predicts the first response token), or all.
    """
    if tokens == "response":
        return Positions(batch.response, batch.sample)
    boundary = batch.sample[1:] != batch.sample[:-1]
    edge = boundary.new_ones(1)
    if tokens == "last_prompt":
        first = torch.cat([edge, boundary])
        return Positions(batch.predicting[first], batch.sample[first])
    # Every sample ends with its response, so its last response token tells where it stands.
    last = torch.cat([boundary, edge])
    ends, numbers = batch.response[last], batch.sample[last]
    lengths = (
        ends % batch.input_ids.shape[1] if batch.position_ids is None else batch.position_ids.flatten()[ends]
    ) + 1
    total = lengths.cumsum(0)
    within = torch.arange(int(total[-1]), device=ends.device) - (total - lengths).repeat_interleave(lengths)
    return Positions((ends - lengths + 1).repeat_interleave(lengths) + within, numbers.repeat_interleave(lengths))
