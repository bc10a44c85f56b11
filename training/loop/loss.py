"""One forward pass of the model being trained: cross-entropy and penalty as sums, in a module DeepSpeed can wrap."""

import torch.nn.functional as F
from torch import Tensor, nn

from training.constraints import Constraint, ForwardPass
from training.constraints.base import Recalled
from training.data.samples import Batch
from training.models.logits import response_logits
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
