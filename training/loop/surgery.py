"""Gradient surgery: a constraint that changes the gradient of the cross-entropy in place of adding to the loss.

What is left of a gradient g when some of another gradient a is taken out, and some added, is g + k a with one number k
that depends on the products g . a and a . a over all trained weights. So an optimizer step has

1. one pass over safety samples, the same on every rank, by which a is known (4 bytes per trained weight),
2. the forward passes of plain fine-tuning, during which hooks on the weights add up g . a before DeepSpeed takes each
   gradient: products are linear, so that neither accumulation nor the sharing among ranks changes them,
3. one more backward pass, of a sum whose gradient is k a, by which DeepSpeed adds it to what it has accumulated.

ZeRO 3 has no whole weights and is refused.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.config import TrialConfig
from training.constraints.base import GradientConstraint
from training.constraints.references.projections import ReferenceValues
from training.data.samples import Integers, Samples
from training.distributed import ranks
from training.errors import TrainingError

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def safety_samples(step: int, count: int, first: int, total: int, seed: int) -> Integers:
    """Indices of the safety samples of optimizer step ``step``: all of them in turn, in an order of its own each time.

    Args:
        step: from 0.
        count: how many.
        first: index of the first safety sample; they are the last of all.
        total: number of all samples.
        seed: of the orders.
    """
    turns, places = np.divmod(np.arange(step * count, (step + 1) * count), total - first)
    orders = {turn: np.random.default_rng([seed, int(turn)]).permutation(total - first) for turn in set(turns)}
    return np.array([first + orders[turn][place] for turn, place in zip(turns, places, strict=True)], np.int64)


class Surgery:
    """The surgery of one training; every rank makes one and calls the same methods.

    Args:
        engine: round a :class:`~training.loop.loss.ConstrainedLoss` with ``constraint``, whose weights are whole on
            every rank.
        trial: its seed counts.
        constraint: what is added to the gradient.
        samples: task samples, followed by safety samples.
        task: how many of them are task samples.
        references: of all samples.

    Raises:
        TrainingError: there are no safety samples.
    """

    def __init__(
        self,
        engine: "DeepSpeedEngine",
        trial: TrialConfig,
        constraint: GradientConstraint,
        samples: Samples,
        task: int,
        references: ReferenceValues | None,
    ) -> None:
        if task == len(samples):
            raise TrainingError(
                f"constraint.type ({trial.constraint.type}) protects what the model says to safety samples, and "
                "data.safety has none: name a source of harmful prompts with refusals"
            )
        self._engine, self._seed, self._constraint = engine, trial.seed, constraint
        self._samples, self._task, self._references = samples, task, references
        self._weights = [weight for weight in engine.module.parameters() if weight.requires_grad]
        self._device = self._weights[0].device
        self._alignment: list[Tensor] | None = None
        self._product = torch.zeros((), dtype=torch.float64, device=self._device)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While active, gradients of the cross-entropy are multiplied with that of the alignment loss as they pass."""
        handles = [weight.register_hook(self._adding_up(place)) for place, weight in enumerate(self._weights)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _adding_up(self, place: int) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            if self._alignment is not None:
                other = self._alignment[place]
                self._product += (gradient.detach().to(other.dtype) * other).sum()

        return hook

    def begin(self, step: int, alpha: float) -> Tensor:
        """The first pass of optimizer step ``step``.

        Returns:
            This rank's share of the alignment loss; 0 in a step without surgery.
        """
        self._alignment = None
        if alpha == 0:
            return torch.zeros((), device=self._device)
        chosen = safety_samples(step, self._constraint.samples, self._task, len(self._samples), self._seed)
        assert self._references is not None, "the alignment loss compares with references that were not built"
        kept = self._references.of(chosen, []).to(self._device)
        batch = self._samples.collate(chosen).to(self._device)
        devices = [self._device] if self._device.type == "cuda" else []
        # Dropout is the same on every rank, and what it draws is not missing from the training's.
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed((self._seed << 32) + step)
            _, total = self._engine.module(batch, kept, True)
            loss = total / len(batch.targets)
            found = torch.autograd.grad(loss, self._weights, allow_unused=True)
        wide = torch.promote_types(self._weights[0].dtype, torch.float32)
        self._alignment = [
            torch.zeros_like(weight, dtype=wide) if one is None else one.detach().to(wide)
            for weight, one in zip(self._weights, found, strict=True)
        ]
        self._product.zero_()
        share: Tensor = loss.detach() / ranks.world_size()
        return share

    def end(self, alpha: float) -> None:
        """The last backward pass of the optimizer step, after which DeepSpeed may move the weights."""
        directions, amount = self._alignment, torch.zeros((), device=self._device)
        self._alignment = None
        if directions is not None:
            square = torch.stack([one.square().sum() for one in directions]).sum().double()
            # The losses were multiplied by the number of ranks, over which DeepSpeed averages.
            products = ranks.sum_over_ranks(torch.stack([self._product, square])) / ranks.world_size()
            amount = self._constraint.added(products[0], products[1], alpha)
        passing = self._engine.gradient_accumulation_steps()  # by which DeepSpeed divides
        along, _ = self._engine(None, None, False, directions or ())
        self._engine.backward(along * (amount.to(along.dtype) * passing))
