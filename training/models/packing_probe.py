"""Whether a model keeps the samples of a row apart: packed they must compute what they do alone."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.data.samples import Samples
from training.models.batching import measuring
from training.models.loading import base_model
from training.models.logits import response_logits

_PROBED = 4
"""Samples that the probe packs, the shortest of those that differ."""
_LONGEST = 64
"""Tokens of each that it looks at."""
_OF_ROUNDING = 4.0
"""A difference up to so many times that of the same samples one to a row under the same masks is rounding."""


def packing_fault(model: nn.Module, samples: Samples) -> str | None:
    """Why packing would train ``model`` differently, in words; None where packed samples compute what they do alone.

    A few short samples are run alone and packed, and no difference but rounding may be left. What rounding does is seen
    where each has a row of its own in the form of packed rows: nothing else can reach it there. On an 8B model all of
    this is half a dozen forward passes over some 200 tokens.

    Args:
        model: the initial model; of one in shards all ranks must call it.
        samples: what it will be trained on.
    """
    probe = _probe(samples)
    indices = np.arange(len(probe))
    with measuring(base_model(model)):
        alone = torch.cat([response_logits(model, probe.collate([index])) for index in indices.tolist()]).float()
        try:
            apart = response_logits(model, probe.collate(indices, row_length=1)).float()
            packed = response_logits(model, probe.collate(indices, int(probe.lengths.sum()) - 1)).float()
        except (TypeError, ValueError, NotImplementedError) as error:  # a kernel is missing, or a mask not understood
            return str(error)
    share = _difference(packed, alone)
    if share <= max(_OF_ROUNDING * _difference(apart, alone), math.sqrt(_unit(model)) / 8):
        return None
    return (
        f"packed samples reach into each other (their logits differ by {share:.2g} of their size from the same alone)"
    )


def _probe(samples: Samples) -> Samples:
    """The beginnings of a few samples, every token but the first counted as response."""
    shortest = np.argsort(samples.lengths, kind="stable")
    distinct: dict[bytes, np.ndarray[Any, Any]] = {}
    for index in shortest[: 64 * _PROBED]:
        tokens = samples.tokens[samples.offsets[index] : samples.offsets[index + 1]][:_LONGEST]
        if len(tokens) > 1 and len(distinct) < _PROBED:
            distinct.setdefault(tokens.tobytes(), tokens)
    chosen = list(distinct.values())
    offsets = np.concatenate([[0], np.cumsum([len(tokens) for tokens in chosen])])
    return replace(
        samples, tokens=np.concatenate(chosen), offsets=offsets, response_starts=np.ones(len(chosen), np.int64)
    )


def _difference(found: Tensor, expected: Tensor) -> float:
    """Mean over tokens of the distance between logits ``[tokens, vocabulary]``, in parts of their own spread."""
    spread = (expected - expected.mean(dim=-1, keepdim=True)).norm(dim=-1)
    return float(((found - expected).norm(dim=-1) / spread).mean())


def _unit(model: nn.Module) -> float:
    """Rounding of the coarsest of the model's number formats."""
    return max(torch.finfo(weight.dtype).eps for weight in model.parameters() if weight.is_floating_point())
