"""Reference projections: where the initial model's residual stream stood, for every response token and layer.

They are constants of the training (z_0 of arXiv 2509.06795), so they are computed once, without a second model in
memory and without a second forward pass per step, and kept in an Arrow file that every rank maps into memory.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from training.constraints.procon import project
from training.data.samples import Integers, Samples
from training.models import decoder
from training.residual import Site, capture

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

FORMAT = "1"
"""Part of the key: raise it when the file's layout or the computation changes."""
_TOKENS_PER_PASS = 8192
"""Padded tokens per forward pass of the build."""


class CorruptReferencesError(Exception):
    """The file is damaged or was cut short; never leaves this module."""


@dataclass(frozen=True)
class ReferenceKey:
    """Everything the projections depend on."""

    model: str
    """Fingerprint of the initial model, its precision included."""
    direction: str
    """Fingerprint of the refusal direction."""
    samples: str
    """Fingerprint of the tokenised samples: tokenizer, chat template and maximum length are in it."""
    site: Site
    """Where the residual stream is read."""

    @property
    def name(self) -> str:
        """The file's name, by content."""
        text = "\n".join((FORMAT, self.model, self.direction, self.samples, self.site))
        return hashlib.sha256(text.encode()).hexdigest()[:24] + ".arrow"


@dataclass(frozen=True)
class References:
    """Projections of the initial model, mapped into memory."""

    projections: NDArray[np.float32]
    """``[all response tokens, layers]``, sample after sample."""
    starts: Integers
    """``[samples + 1]`` first row of each sample."""

    def of(self, samples: Integers, layers: list[int]) -> Tensor:
        """``[response tokens of the samples, layers]`` float32, in the order of a batch of them."""
        rows = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in samples])
        chosen = self.projections[rows]
        return torch.from_numpy(chosen if len(layers) == chosen.shape[1] else np.ascontiguousarray(chosen[:, layers]))


def _passes(lengths: Integers) -> list[Integers]:
    """Samples in groups of similar length, each at most ``_TOKENS_PER_PASS`` padded tokens."""
    order = np.argsort(lengths, kind="stable")[::-1]
    groups: list[Integers] = []
    start = 0
    while start < len(order):
        size = max(1, _TOKENS_PER_PASS // int(lengths[order[start]]))
        groups.append(order[start : start + size])
        start += size
    return groups


@torch.no_grad()
def compute(model: PreTrainedModel, samples: Samples, unit: Tensor, site: Site) -> NDArray[np.float32]:
    """Project the residual stream of ``model`` at every response token: one pass of the decoder, without its head.

    Args:
        model: the initial model, without adapters.
        samples: what it will be trained on.
        unit: ``[layers, d_model]`` unit directions.
        site: before or after the block.

    Returns:
        ``[all response tokens, layers]`` float32, sample after sample.
    """
    device = next(model.parameters()).device
    unit = unit.to(device, torch.float32)
    starts = np.concatenate([[0], np.cumsum(samples.response_lengths)])
    found = np.empty((int(starts[-1]), len(unit)), np.float32)
    was_training = model.training
    model.eval()
    with capture(model, range(len(unit)), site) as states:
        for group in _passes(samples.lengths):
            batch = samples.collate(group).to(device)
            decoder(model)(input_ids=batch.input_ids, use_cache=False)
            columns = [project(states[layer], batch.response, unit[layer]) for layer in range(len(unit))]
            rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in group])
            found[rows] = torch.stack(columns, dim=1).cpu().numpy()
    model.train(was_training)
    return found


def _digest(values: "pa.Array", offsets: "pa.Array") -> str:
    digest = hashlib.sha256(np.asarray(values).data)
    digest.update(np.asarray(offsets).data)
    return digest.hexdigest()


def write(path: Path, key: ReferenceKey, projections: NDArray[np.float32], response_lengths: Integers) -> None:
    """Save projections as one Arrow row per sample, ``[response_tokens x layers]`` row-major, atomically.

    Args:
        path: the file.
        key: kept in the file's metadata.
        projections: ``[all response tokens, layers]``.
        response_lengths: ``[samples]``.
    """
    import pyarrow as pa

    layers = projections.shape[1]
    offsets = pa.array(np.concatenate([[0], np.cumsum(response_lengths)]) * layers, pa.int64())
    values = pa.array(projections.reshape(-1), pa.float32())
    metadata = {
        "layers": str(layers),
        "sha256": _digest(values, offsets),
        "model": key.model,
        "direction": key.direction,
        "samples": key.samples,
        "site": key.site,
    }
    column = pa.LargeListArray.from_arrays(offsets, values)
    table = pa.table({"projections": column}).replace_schema_metadata(metadata)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> References:
    """Map the file into memory and verify its hash.

    Raises:
        CorruptReferencesError: it is not what was written.
    """
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        metadata = table.schema.metadata or {}
        column = table.column("projections").chunk(0)
        layers = int(metadata[b"layers"])
        digest = _digest(column.values, column.offsets)
    except (pa.ArrowInvalid, OSError, KeyError, IndexError, ValueError) as error:
        raise CorruptReferencesError(f"it cannot be read ({error})") from error
    if digest != metadata.get(b"sha256", b"").decode():
        raise CorruptReferencesError("its contents do not match the hash it was written with")
    return References(np.asarray(column.values).reshape(-1, layers), np.asarray(column.offsets) // layers)


def load_or_build(
    directory: Path,
    key: ReferenceKey,
    model: PreTrainedModel,
    samples: Samples,
    unit: Tensor,
) -> References:
    """The references of ``key``: read where they exist, else computed once however many processes ask at the same time.

    Args:
        directory: where references are kept.
        key: fingerprints of what follows.
        model: the initial model, without adapters.
        samples: what it will be trained on.
        unit: ``[layers, d_model]`` unit directions.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / key.name
    with FileLock(f"{path}.lock"):
        if path.exists():
            try:
                return read(path)
            except CorruptReferencesError as error:
                log.warning("references %s are built again: %s", path, error)
        log.info("computing reference projections of %d samples into %s", len(samples), path)
        write(path, key, compute(model, samples, unit, key.site), samples.response_lengths)
        return read(path)
