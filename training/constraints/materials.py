"""What constraints are built from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.errors import ModelError


class UnitDirection(Protocol):
    """What a constraint reads of a refusal direction."""

    @property
    def unit(self) -> Tensor:
        """``[layers, d_model]`` unit vectors, float32."""

    @property
    def separation(self) -> Tensor:
        """``[layers]`` distance between the two class means."""

    @property
    def site(self) -> str:
        """Where the residual stream was read."""


@dataclass(frozen=True)
class Initial:
    """The model before training, and the train prompts that the direction was extracted from."""

    model: PreTrainedModel
    """Without adapters while the constraint is built; under full tuning it never changes."""
    tokenizer: PreTrainedTokenizerBase
    """Of the model."""
    harmful: Sequence[str]
    """Harmful train prompts."""
    harmless: Sequence[str]
    """Harmless train prompts."""


@dataclass(frozen=True)
class Materials:
    """What constraints are built from."""

    direction: UnitDirection
    """Extracted at the blocks' output from the model to be trained."""
    device: torch.device
    """Where it is trained."""
    initial: Initial | None = None
    """That model; None where a constraint can do without."""
    reference_precision: torch.dtype = torch.float32
    """In which projections of the initial model are kept."""

    @property
    def depth(self) -> int:
        """Decoder layers of the model."""
        return len(self.direction.unit)

    def required_initial(self, kind: str) -> Initial:
        """The initial model, for a constraint of type ``kind`` that cannot do without.

        Raises:
            ModelError: there is none.
        """
        if self.initial is None:
            raise ModelError(f"constraint.type ({kind}) is built from the initial model and prompts: pass them on")
        return self.initial
