"""Reference projections: where the initial model's residual stream stood, for every constrained token and layer.

They are constants of the training (z_0 of arXiv 2509.06795), so they are computed once, without a second model in
memory and without a second forward pass per step, and kept in an Arrow file that every rank maps into memory.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from training.constraints.base import Recalled
from training.constraints.positions import Tokens, positions_of, tokens_of
from training.constraints.projection import project
from training.constraints.references import files as reference_files
from training.constraints.references.files import ReferenceTable, starts_of
from training.constraints.references.passes import gathered_on_rank_zero, in_passes
from training.data.samples import Integers, Samples
from training.distributed.sharding import sharded
from training.errors import ModelError
from training.models.loading import decoder
from training.models.residual import Site, capture
from training.storage.shared import Shared

FORMAT = "2"
"""Part of the key: raise it when the file's layout or the computation changes."""

Precision = Literal["fp32", "fp16"]


class ReferenceValues(Protocol):
    """What is kept of the initial model, for all samples."""

    def of(self, samples: Integers, layers: list[int]) -> Recalled:
        """What belongs to a batch of ``samples``, for a constraint on ``layers``."""


def vectors_fingerprint(unit: Tensor) -> str:
    """A hash of directions: equal exactly for equal vectors."""
    digest = hashlib.sha256(str(tuple(unit.shape)).encode())
    digest.update(unit.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class ReferenceKey:
    """Everything the projections depend on."""

    model: str
    """Fingerprint of the initial model, its precision included."""
    direction: str
    """Fingerprint of the directions."""
    samples: str
    """Fingerprint of the tokenised samples: tokenizer, chat template and maximum length are in it."""
    site: Site
    """Where the residual stream is read."""
    tokens: Tokens = "response"
    """At which tokens."""
    precision: Precision = "fp32"
    """Number format they are kept in."""

    @property
    def name(self) -> str:
        """The file's name, by content."""
        text = "\n".join((FORMAT, *vars(self).values()))
        return hashlib.sha256(text.encode()).hexdigest()[:24] + ".arrow"


@dataclass(frozen=True)
class References:
    """Projections of the initial model, mapped into memory."""

    projections: NDArray[np.float32] | NDArray[np.float16]
    """``[all constrained tokens, layers * directions]``, sample after sample."""
    starts: Integers
    """``[samples + 1]`` first row of each sample."""
    directions: int = 1
    """Directions per layer."""

    def of(self, samples: Integers, layers: list[int]) -> Tensor:
        """``[constrained tokens of the samples, layers * directions]`` float32, in the order of a batch of them."""
        chosen: NDArray[Any] = self.projections[ReferenceTable({}, self.starts).rows(samples)]
        if len(layers) * self.directions != chosen.shape[1]:
            by_layer = chosen.reshape(len(chosen), -1, self.directions)
            chosen = np.ascontiguousarray(by_layer[:, layers]).reshape(len(chosen), -1)
        return torch.from_numpy(chosen.astype(np.float32, copy=False))


@torch.no_grad()
def compute(
    model: PreTrainedModel, samples: Samples, unit: Tensor, site: Site, tokens: Tokens = "response"
) -> NDArray[np.float32]:
    """Project the residual stream of ``model``: one pass of the decoder, without its head, shared among the ranks.

    Args:
        model: the initial model, without adapters.
        samples: what it will be trained on.
        unit: ``[layers, d_model]`` unit directions, or several per layer ``[layers, directions, d_model]``.
        site: before or after the block.
        tokens: at which tokens of every sample.

    Returns:
        ``[all constrained tokens, layers * directions]`` float32, sample after sample; complete on rank 0.
    """
    device = next(model.parameters()).device
    unit = unit.to(device, torch.float32)
    starts = starts_of(tokens_of(samples, tokens))
    columns = unit.shape[:-1].numel()
    parts: list[tuple[Integers, NDArray[np.float32]]] = []
    was_training = model.training
    model.eval()

    def projected(group: Integers) -> NDArray[np.float32]:
        batch = samples.collate(group).to(device)
        with capture(model, range(len(unit)), site) as states:
            decoder(model)(input_ids=batch.input_ids, use_cache=False)
            where = positions_of(batch, tokens).index
            found = torch.stack([project(states[layer], where, unit[layer]) for layer in range(len(unit))], dim=1)
        values: NDArray[np.float32] = found.flatten(1).cpu().numpy()
        return values

    for group, values in in_passes(samples.lengths, projected, lockstep=sharded(model)):
        parts.append((np.concatenate([np.arange(starts[i], starts[i + 1]) for i in group]), values))
    model.train(was_training)
    unfilled = np.full((int(starts[-1]), columns), np.nan, np.float32)  # so that no other rank's table can be mistaken
    return gathered_on_rank_zero(parts, unfilled)


def load_or_build(
    directory: Path,
    key: ReferenceKey,
    model: PreTrainedModel,
    samples: Samples,
    unit: Tensor,
    shared: Shared | None = None,
) -> References:
    """The references of ``key``: read where they exist, else computed once; all ranks must call it.

    Args:
        directory: where references are kept.
        key: fingerprints of what follows.
        model: the initial model, without adapters.
        samples: what it will be trained on.
        unit: ``[layers, d_model]`` unit directions, or several per layer ``[layers, directions, d_model]``.
        shared: what other machines share them by, where they do not see ``directory``.

    Raises:
        ModelError: a projection is too large for fp16.
    """

    def build() -> ReferenceTable:
        found = compute(model, samples, unit, key.site, key.tokens)
        if key.precision == "fp16":
            if not np.all(np.abs(found) <= np.finfo(np.float16).max):
                raise ModelError("references.precision (fp16) cannot hold this model's projections: use fp32")
            return ReferenceTable({"projections": found.astype(np.float16)}, starts_of(tokens_of(samples, key.tokens)))
        return ReferenceTable({"projections": found}, starts_of(tokens_of(samples, key.tokens)))

    what = f"reference projections of {len(samples)} samples"
    table = reference_files.load_or_build(directory / key.name, build, vars(key), what, shared)
    return References(table.columns["projections"], table.starts, unit.shape[1] if unit.ndim == 3 else 1)
