"""The one hook that every constraint hangs on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from training.data.samples import Batch
from training.residual import Site


@dataclass(frozen=True)
class ForwardPass:
    """What a constraint may look at after one forward pass of the model being trained."""

    batch: Batch
    """The samples."""
    states: Mapping[int, Tensor]
    """Layer index -> residual stream ``[batch, seq, d_model]`` of the layers the constraint asked for, with graph."""
    references: Tensor | None
    """``[response_tokens, layers]`` projections of the initial model, in the order of the constraint's layers."""


class Constraint(ABC):
    """A penalty that is a mean over the global batch, so that it does not depend on how ranks share the work."""

    layers: Sequence[int]
    """0-based layers whose residual stream it looks at."""
    site: Site
    """Where in those layers."""
    averages_over: Literal["tokens", "samples"]
    """What its sum is divided by: the response tokens or the samples of the global batch."""
    needs_references: bool
    """Whether it compares with projections of the initial model."""

    @abstractmethod
    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty summed over what :attr:`averages_over` counts, a float32 scalar with its graph."""
