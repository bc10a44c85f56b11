"""One forward pass of the model being trained: cross-entropy and penalty as sums, in a module DeepSpeed can wrap."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.constraints import Constraint, ForwardPass, TokenConstraint
from training.constraints.base import Recalled
from training.data.samples import Batch
from training.models.loading import base_model
from training.models.logits import model_inputs, reduced_logits, response_logits
from training.models.residual import capture


class ConstrainedLoss(nn.Module):
    """The model with the loss of arXiv 2509.06795: both terms as sums, divided by global counts in the loop."""

    def __init__(self, model: nn.Module, constraint: Constraint | None) -> None:
        """Wrap a model.

        Args:
            model: a causal language model, with or without adapters.
            constraint: adds a penalty; None trains without.
        """
        super().__init__()
        self.model = model
        self.constraint = constraint

    def forward(
        self,
        batch: Batch | None,
        references: Recalled | None,
        constrained: bool,
        along: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the response tokens, and the penalty.

        Args:
            batch: samples; None where ``along`` is given.
            references: what of the initial model the constraint compares with, of these samples.
            constrained: whether the penalty is computed; without, the forward pass is that of plain fine-tuning.
            along: one tensor per trained weight: in place of the cross-entropy, the sum of their products with the
                weights, whose gradient they are; an empty sequence stands for zeros.

        Returns:
            Both float32 scalars: the cross-entropy summed over the response tokens, and the penalty summed over what
            its constraint averages over (0 when there is none).
        """
        if along is not None:
            return self._along(along)
        assert batch is not None
        if self.constraint is None or not constrained:
            (cross_entropy,), _ = self._in_chunks(batch)
            return cross_entropy, cross_entropy.new_zeros(())
        if isinstance(self.constraint, TokenConstraint):
            (cross_entropy, penalty), _ = self._in_chunks(batch, self.constraint, references)
            return cross_entropy, penalty
        with capture(self.model, self.constraint.layers, self.constraint.site) as captured:
            if self.constraint.reads_logits:
                cross_entropy, logits = self._at_once(batch)
            else:
                (cross_entropy,), logits = self._in_chunks(batch)
            states = dict(captured)
        # The hooks are gone by now: a forward pass of the constraint's own leaves these states alone.
        seen = ForwardPass(batch, states, references, logits, self.model)
        return cross_entropy, self.constraint.penalty_sum(seen)

    def _along(self, directions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        if directions:
            parts = [(weight * one).sum() for weight, one in zip(weights, directions, strict=True)]
        else:
            parts = [weight.sum() * 0.0 for weight in weights]
        total = torch.stack([part.float() for part in parts]).sum()
        return total, total.new_zeros(())

    def _at_once(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum of the cross-entropy, and all logits that it is of."""
        logits = response_logits(self.model, batch)
        return _cross_entropy_sum(logits, batch.targets), logits

    def _in_chunks(
        self, batch: Batch, constraint: TokenConstraint | None = None, references: Recalled | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same, of logits that are never there all at once, and none of them.

        Returns:
            ``[1]`` the sum of the cross-entropy, or ``[2]`` with that of the penalty of ``constraint``; and
            ``[0, vocabulary]``.
        """
        empty = batch.targets.new_empty(0, 0, dtype=torch.float32)

        def reduce(logits: Tensor, chunk: slice) -> Tensor:
            nonlocal empty
            empty = logits.new_empty(0, logits.shape[-1])
            sums = [_cross_entropy_sum(logits, batch.targets[chunk])]
            if constraint is not None:
                sums.append(constraint.penalties(logits, chunk, batch, references).sum())
            return torch.stack(sums)[None]

        def forward() -> object:
            return self.model(**model_inputs(self.model, batch), use_cache=False)

        sums = reduced_logits(base_model(self.model), forward, batch.predicting, reduce)
        return sums.sum(dim=0), empty


def _cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), targets, reduction="sum")
