"""One forward pass of the model being trained: cross-entropy and penalty as sums, in a module DeepSpeed can wrap."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from training.constraints import Constraint, ForwardPass
from training.constraints.base import Recalled
from training.data.samples import Batch
from training.models import base_model
from training.packed_inputs import packed_inputs
from training.residual import capture


class Objective(nn.Module):
    """The model with the loss of arXiv 2509.06795: both terms as sums, divided by global counts in the loop."""

    def __init__(self, model: nn.Module, constraint: Constraint | None) -> None:
        """Wrap a model.

        Args:
            model: a causal language model, with or without adapters.
            constraint: adds a penalty; none trains without.
        """
        super().__init__()
        self.model = model
        self.constraint = constraint

    def forward(self, batch: Batch, references: Recalled | None, constrained: bool) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the response tokens, and the penalty.

        Args:
            batch: samples.
            references: what of the initial model the constraint compares with, of these samples.
            constrained: whether the penalty is computed; without, the forward pass is that of plain fine-tuning.

        Returns:
            Both float32 scalars: the cross-entropy summed over the response tokens, and the penalty summed over what
            its constraint averages over (0 when there is none).
        """
        if self.constraint is None or not constrained:
            cross_entropy = self._cross_entropy_sum(response_logits(self.model, batch), batch)
            return cross_entropy, cross_entropy.new_zeros(())
        with capture(self.model, self.constraint.layers, self.constraint.site) as captured:
            logits = response_logits(self.model, batch)
            states = dict(captured)
        # The hooks are gone by now: a forward pass of the constraint's own leaves these states alone.
        seen = ForwardPass(batch, states, references, logits, self.model)
        return self._cross_entropy_sum(logits, batch), self.constraint.penalty_sum(seen)

    @staticmethod
    def _cross_entropy_sum(logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits.float(), batch.targets, reduction="sum")


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """What the model is called with; see :func:`training.packed_inputs.packed_inputs` for a packed batch."""
    return {"input_ids": batch.input_ids} if batch.position_ids is None else packed_inputs(model, batch)


def _selecting(positions: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def select(_head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = args
        return (hidden.flatten(0, 1).index_select(0, positions), *rest)

    return select


def response_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits that predict the response tokens, ``[response_tokens, vocabulary]``.

    The output head only sees the positions it is needed at, which for a small model with a large vocabulary saves most
    of the step. The choice is made by a hook before the head rather than by calling decoder and head apart, so that
    whatever an architecture does to its logits afterwards (scaling, soft caps) still happens.
    """
    head = base_model(model).get_output_embeddings()
    handle = head.register_forward_pre_hook(_selecting(batch.predicting))
    try:
        logits: Tensor = model(**model_inputs(model, batch), use_cache=False).logits
    finally:
        handle.remove()
    return logits
