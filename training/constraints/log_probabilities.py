"""Log-probabilities of the initial model, and what is computed of logits to compare with them."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogProbabilities:
    """Natural log-probabilities of the initial model at the response tokens of one batch."""

    target: Tensor | None = None
    """``[tokens]`` of the token that follows."""
    top: Tensor | None = None
    """``[tokens, top]`` of the likeliest tokens."""
    top_tokens: Tensor | None = None
    """``[tokens, top]`` their ids."""
    rest: Tensor | None = None
    """``[tokens]`` of all other tokens together; minus infinity where there are none."""

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "LogProbabilities":
        """The same on another device."""
        values = (getattr(self, field.name) for field in fields(self))
        return LogProbabilities(
            *(value if value is None else value.to(device, non_blocking=non_blocking) for value in values)
        )

    def at(self, chosen: slice) -> "LogProbabilities":
        """Those of some of the tokens."""
        values = (getattr(self, field.name) for field in fields(self))
        return LogProbabilities(*(value if value is None else value[chosen] for value in values))


def target_log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """``[tokens]`` log-probability of ``targets`` under ``logits`` ``[tokens, vocabulary]``, float32 or wider."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -torch.nn.functional.cross_entropy(wide, targets, reduction="none")


def rest_log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of all tokens but those named, summed as such, since 1 - p has no digits left near 1.

    Args:
        logits: ``[positions, vocabulary]``, float32 or wider.
        tokens: ``[positions, named]`` token ids, fewer than the vocabulary.

    Returns:
        ``[positions]``.
    """
    others = logits.scatter(-1, tokens, -torch.inf)
    return others.logsumexp(dim=-1) - logits.logsumexp(dim=-1)
