"""Exponential moving average of the weights in training: what is measured and exported in their place.

w_avg <- d w_avg + (1 - d) w after every optimizer step, from the untouched weights on (Polyak & Juditsky 1992; as a
means against the loss of safety in fine-tuning: arXiv 2508.12531). A decay d averages over about 1 / (1 - d) steps, and
in a training that is not much longer it stays near where it began.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

FILE = "average.pt"
"""In a checkpoint."""


class WeightAverage:
    """Of what is trained of a module that is whole on every rank, so that each rank keeps the same.

    Args:
        module: whose trained weights are averaged, in float32 on their device; it must not be sharded.
        decay: d, between 0 and 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._weights = {name: one for name, one in module.named_parameters() if one.requires_grad}
        self._decay = decay
        self._average = {name: one.detach().to(torch.float32, copy=True) for name, one in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an optimizer step."""
        for name, weight in self._weights.items():
            self._average[name].lerp_(weight.float(), 1 - self._decay)

    @torch.no_grad()
    def put(self) -> None:
        """Put the average in place of the weights."""
        for name, weight in self._weights.items():
            weight.copy_(self._average[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in place of the weights for as long as the block lasts; the training goes on where it was."""
        kept = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._weights.items():
                    weight.copy_(kept[name])

    def save(self, directory: Path) -> None:
        """Write it into a checkpoint."""
        torch.save({name: one.cpu() for name, one in self._average.items()}, directory / FILE)

    def load(self, directory: Path) -> None:
        """Take it from a checkpoint.

        Raises:
            Exception: as of ``torch.load``, of a file that is damaged or of another model.
        """
        found = averaged_weights(directory)
        for name, one in self._average.items():
            one.copy_(found[name])


def averaged_weights(directory: Path) -> dict[str, Tensor]:
    """The average that a checkpoint holds, by parameter, float32 on the CPU."""
    found: dict[str, Tensor] = torch.load(directory / FILE, map_location="cpu", weights_only=True)
    return found
