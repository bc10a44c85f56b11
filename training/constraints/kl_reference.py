"""The next-token distribution stays where the initial model had it.

    L = mean_j sum_{v in V64} p_0(v) log(p_0(v) / p_t(v)) + p_0(rest) log(p_0(rest) / p_t(rest))

V64 are the 64 likeliest tokens of the initial model at that position, "rest" all others together. It is a coarse KL
divergence: never larger than the full one (data processing inequality), and blind to what moves within the rest.
"""

import torch
from torch import Tensor

from training.config import KlReferenceConstraint
from training.constraints.base import LogProbabilityRequest, Recalled, TokenConstraint
from training.constraints.log_probabilities import LogProbabilities, rest_log_probability
from training.constraints.materials import Materials
from training.data.samples import Batch


def coarse_divergence(logits: Tensor, references: LogProbabilities) -> Tensor:
    """KL divergence of the current from the initial distribution on the initial model's likeliest tokens and the rest.

    Args:
        logits: ``[tokens, vocabulary]`` of the model being trained.
        references: of the initial model, at the same positions.

    Returns:
        ``[tokens]`` in nats, float32 or wider.
    """
    top, tokens, rest_before = references.top, references.top_tokens, references.rest
    assert top is not None
    assert tokens is not None
    assert rest_before is not None
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = wide.logsumexp(dim=-1, keepdim=True)
    now = wide.gather(-1, tokens) - total
    divergence = (top.exp() * (top - now)).sum(dim=-1)
    if tokens.shape[-1] == logits.shape[-1]:
        return divergence
    rest_now = rest_log_probability(wide, tokens)
    return divergence + torch.where(rest_before > -torch.inf, rest_before.exp() * (rest_before - rest_now), 0.0)


class KlReference(TokenConstraint):
    """Coarse KL divergence from the initial model's next-token distribution, at the response tokens."""

    wants = LogProbabilityRequest("top")

    def penalties(self, logits: Tensor, chosen: slice, batch: Batch, references: Recalled | None) -> Tensor:
        """The divergence at each token."""
        del batch
        assert isinstance(references, LogProbabilities), "kl_reference was built without log-probabilities"
        return coarse_divergence(logits, references.at(chosen))


def build(_config: KlReferenceConstraint, _materials: Materials) -> KlReference:
    """The constraint of a block of type ``kl_reference``."""
    return KlReference()
