"""Models on the line between the untouched one and the trained one: W0 + s (W - W0).

Where s is the scale: 0 is the untouched model, 1 the trained one, beyond 1 goes on in the same direction. WiSE-FT
(Wortsman et al. 2022, arXiv 2109.01903) interpolates whole models that way; of LoRA the update is B A, so that scaling
every B by s is the same. Such a model costs no training: it is measured as any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.distributed.gathering import gather_for_forward, stop_gathering
from training.distributed.sharding import own_part
from training.errors import ModelError


class Tuned(NamedTuple):
    """A trained model, and those between it and the untouched one."""

    model: nn.Module
    line: "Line"


class Line:
    """The models between the untouched one and ``trained``.

    Args:
        trained: with adapters, or every weight of its own.
        initial: of a fully tuned model the weights it started from, in the order of its parameters, of a sharded one
            this rank's parts of them; None for adapters.
        sharding: DeepSpeed's configuration where ``trained`` is sharded, in which case all ranks must take part and
            forward passes gather what they need.
    """

    def __init__(
        self, trained: nn.Module, initial: Sequence[Tensor] | None = None, sharding: Mapping[str, Any] | None = None
    ) -> None:
        self._trained, self._initial, self._sharding = trained, initial, sharding

    @contextmanager
    def at(self, scale: float) -> Iterator[nn.Module]:
        """The model at ``scale`` for as long as the block lasts; afterwards it is bit for bit the trained one again.

        A copy of the trained weights, of adapters of their B matrices alone, stays on the device meanwhile: the
        optimizer, which was several times larger, is gone by then.

        Raises:
            ModelError: its adapters have magnitudes of their own (DoRA), so that no factor scales what they changed.
        """
        if scale == 1:
            yield self._trained
            return
        parts = _moving(self._trained, self._initial)
        kept = [part.clone() for part in parts]
        try:
            with self._apart():
                _move(parts, self._initial, scale)
            yield self._trained
        finally:
            with self._apart(), torch.no_grad():
                for part, one in zip(parts, kept, strict=True):
                    part.copy_(one)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """While active, no parameter of a sharded model is gathered: one that stays gathered would not see a change."""
        if self._sharding is None:
            yield
            return
        stop_gathering(self._trained)
        try:
            yield
        finally:
            gather_for_forward(self._trained, self._sharding)


def scale_weights(trained: nn.Module, scale: float, initial: Sequence[Tensor] | None = None) -> None:
    """Move ``trained``, whole in this process, to ``scale``, in place; see :class:`Line` for the arguments.

    Raises:
        ModelError: see :meth:`Line.at`.
    """
    if scale != 1:
        _move(_moving(trained, initial), initial, scale)


def _moving(trained: nn.Module, initial: Sequence[Tensor] | None) -> list[Tensor]:
    """This process's part of every weight that the scale moves."""
    if initial is not None:
        return [own_part(weight).data for weight in trained.parameters()]
    named = list(trained.named_parameters())
    if any("lora_magnitude_vector" in name for name, _ in named):
        raise ModelError("adapters with magnitudes of their own cannot be scaled: turn tuning.use_dora off")
    return [own_part(weight).data for name, weight in named if "lora_B" in name or "lora_embedding_B" in name]


@torch.no_grad()
def _move(parts: Sequence[Tensor], initial: Sequence[Tensor] | None, scale: float) -> None:
    """Float32 sums, rounded once to the format of the weights."""
    for index, part in enumerate(parts):
        trained = part.float()
        if initial is None:
            part.copy_(scale * trained)
        else:
            start = initial[index].to(part.device).float()
            part.copy_(start + scale * (trained - start))
