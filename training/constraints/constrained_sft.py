"""Token-wise constrained fine-tuning (arXiv 2406.05946, equation 3), as a penalty beside the cross-entropy.

The paper minimises, in place of the cross-entropy,

    E sum_t -2/beta_t log sigmoid(beta_t D_t),   D_t = log p_t(y_t) - log p_0(y_t)

with beta_1 = 0.5, beta_2..5 = 2 and 0.1 after. Since -log sigmoid(u) = log(2 cosh(u/2)) - u/2, that is

    cross-entropy + 2/beta_t log cosh(beta_t D_t / 2) + a constant.

The second term is the penalty here: with alpha = 1 the objective is the paper's, with 0 plain fine-tuning. It is 0 at
the start, about beta/4 D^2 for small D and |D| for large, and its gradient in D is tanh(beta_t D_t / 2). The mean is
over all response tokens, as in the paper's code. That code keeps the weight 1 - tanh of a token above 0.001; we do not.
"""

import math

import torch
from torch import Tensor

from training.config import ConstrainedSftConstraint
from training.constraints.base import LogProbabilityRequest, Recalled, TokenConstraint
from training.constraints.log_probabilities import LogProbabilities, target_log_probability
from training.constraints.materials import Materials
from training.data.samples import Batch


def log_cosh_penalty(difference: Tensor, beta: Tensor) -> Tensor:
    """``2/beta log cosh(beta D / 2)``, elementwise and without overflow.

    Args:
        difference: D, log-probabilities of the target tokens now minus those of the initial model.
        beta: of the same shape, positive.
    """
    half = beta * difference.abs() / 2
    return 2 / beta * (half + torch.nn.functional.softplus(-2 * half) - math.log(2))


class ConstrainedSft(TokenConstraint):
    """What turns the cross-entropy into the objective of token-wise constrained fine-tuning."""

    wants = LogProbabilityRequest("target")

    def __init__(self, first: float, prefix: float, rest: float, prefix_tokens: int) -> None:
        """Hold the probabilities of target tokens.

        Args:
            first: beta of the first response token.
            prefix: beta of the following tokens of the prefix.
            rest: beta after the prefix.
            prefix_tokens: length of the prefix, its first token included.
        """
        self.first, self.prefix, self.rest, self.prefix_tokens = first, prefix, rest, prefix_tokens

    def betas(self, places: Tensor) -> Tensor:
        """Strength at each of ``places``, the index of a token within its response."""
        prefix = torch.where(places < self.prefix_tokens, self.prefix, self.rest)
        return torch.where(places == 0, self.first, prefix)

    def penalties(self, logits: Tensor, chosen: slice, batch: Batch, references: Recalled | None) -> Tensor:
        """The penalty of each token."""
        assert isinstance(references, LogProbabilities), "constrained_sft was built without log-probabilities"
        assert references.target is not None
        now = target_log_probability(logits, batch.targets[chosen])
        betas = self.betas(places_in_response(batch.sample)[chosen]).to(now.dtype)
        return log_cosh_penalty(now - references.target[chosen], betas)


def places_in_response(sample: Tensor) -> Tensor:
    """``[tokens]`` index of each response token within its response.

    Args:
        sample: ``[tokens]`` the sample of each, sample after sample.
    """
    order = torch.arange(len(sample), device=sample.device)
    begins = torch.cat([sample.new_ones(1, dtype=torch.bool), sample[1:] != sample[:-1]])
    return order - torch.where(begins, order, 0).cummax(0).values


def build(config: ConstrainedSftConstraint, _materials: Materials) -> ConstrainedSft:
    """The constraint of a block of type ``constrained_sft``."""
    return ConstrainedSft(config.beta_first, config.beta_prefix, config.beta_rest, config.prefix_tokens)
