"""The one hook that every constraint hangs on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor, nn

from training.constraints.log_probabilities import LogProbabilities
from training.constraints.positions import Tokens, tokens_of
from training.data.samples import Batch, Integers, Samples
from training.models.residual import Site

Recalled = Tensor | LogProbabilities
"""What of the initial model a batch is compared with."""


@dataclass(frozen=True)
class ForwardPass:
    """What a constraint may look at after one forward pass of the model being trained."""

    batch: Batch
    """The samples."""
    states: Mapping[int, Tensor]
    """Layer index -> residual stream ``[batch, seq, d_model]`` of the layers the constraint asked for, with graph."""
    references: Recalled | None
    """What it asked to compare with: projections ``[tokens, columns]`` in the order of its layers and positions, or
    log-probabilities of the response tokens, both of the initial model."""
    logits: Tensor
    """``[response_tokens, vocabulary]`` that predict the response tokens, with graph; no rows, ``[0, vocabulary]``, for
    a constraint that does not read them (:attr:`Constraint.reads_logits`)."""
    model: nn.Module
    """The model being trained, for constraints with a forward pass of their own or on the weights."""


@dataclass(frozen=True, eq=False)
class ProjectionRequest:
    """References wanted: the initial model's projections, of all layers, since a file serves every choice of them."""

    unit: Tensor
    """``[layers, d_model]`` or ``[layers, directions, d_model]``, float32."""
    tokens: Tokens
    """At which tokens of every sample."""


@dataclass(frozen=True)
class LogProbabilityRequest:
    """References wanted: the initial model's log-probabilities at the response tokens."""

    kind: Literal["target", "top"]
    """target: of the token that follows; top: of the likeliest tokens, and of all others together."""


ReferenceRequest = ProjectionRequest | LogProbabilityRequest


class Constraint(ABC):
    """A penalty that is a mean over the global batch, so that it does not depend on how ranks share the work."""

    layers: Sequence[int] = ()
    """0-based layers whose residual stream it looks at."""
    site: Site = "block_output"
    """Where in those layers."""
    tokens: Tokens = "response"
    """Which tokens it looks at."""
    averages_over: Literal["tokens", "samples"] = "samples"
    """What its sum is divided by: those tokens, or the samples, of the global batch."""
    wants: ReferenceRequest | None = None
    """What of the initial model it compares with; None where that is not kept in a file."""

    reads_logits: bool = True
    """Whether it reads the logits of all response tokens together. Those of a large vocabulary are the largest tensor
    of a step, and for one that does not, or reads those of one token at a time (:class:`TokenConstraint`), they are
    never there all at once."""

    @property
    def needs_references(self) -> bool:
        """Whether it compares with what is kept of the initial model."""
        return self.wants is not None

    def counted(self, samples: Samples) -> Integers:
        """``[samples]`` what each sample adds to the number that the penalty's sum is divided by."""
        return tokens_of(samples, self.tokens) if self.averages_over == "tokens" else np.ones(len(samples), np.int64)

    @abstractmethod
    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty summed over what :attr:`averages_over` counts, a float32 scalar with its graph.

        One that is no sum over the batch is multiplied by :attr:`~training.data.samples.Batch.samples`, so that the
        shares of all forward passes of a step add up to it.
        """


class TokenConstraint(Constraint):
    """A penalty that each response token has by its own logits, which therefore need never be there all at once."""

    averages_over = "tokens"

    @abstractmethod
    def penalties(self, logits: Tensor, chosen: slice, batch: Batch, references: Recalled | None) -> Tensor:
        """``[chosen]`` penalties of some of the response tokens, float32 or wider, with their graph.

        Args:
            logits: ``[chosen, vocabulary]`` that predict them.
            chosen: which of the response tokens they are.
            batch: all samples.
            references: of all response tokens; None where the constraint wants none.
        """

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The sum of :meth:`penalties` over all response tokens at once."""
        return self.penalties(forward.logits, slice(None), forward.batch, forward.references).sum()


class GradientConstraint(TokenConstraint):
    """One that changes the cross-entropy's gradient by that of an alignment loss, see :mod:`training.loop.surgery`.

    :meth:`penalties` make that loss: their mean over the response tokens of safety samples of its own, which are not
    those that are trained on.
    """

    samples: int
    """Safety samples per optimizer step."""

    @abstractmethod
    def added(self, product: Tensor, square: Tensor, alpha: float) -> Tensor:
        """How much of the alignment gradient a is added to the gradient g of the cross-entropy.

        Args:
            product: g . a over all trained weights, a float64 scalar.
            square: a . a, likewise.
            alpha: strength of the optimizer step, above 0.

        Returns:
            A float64 scalar k: the step goes along g + k a.
        """
