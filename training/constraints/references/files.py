"""Files of reference values: what the initial model computed, one Arrow row per sample, mapped into memory.

Written once however many processes ask at the same time, renamed into place when complete, verified by hash on reading.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from training.data.samples import Integers
from training.distributed import ranks
from training.distributed.locks import acquire
from training.storage.shared import Shared

log = logging.getLogger(__name__)

Values = NDArray[Any]


class CorruptReferencesError(Exception):
    """The file is damaged or was cut short; never leaves this module."""


@dataclass(frozen=True)
class ReferenceTable:
    """Values per token, sample after sample."""

    columns: Mapping[str, Values]
    """``[all tokens, width]`` each, by name."""
    starts: Integers
    """``[samples + 1]`` first row of each sample."""

    def rows(self, samples: Integers) -> Integers:
        """The rows of ``samples``, in the order of a batch of them."""
        return np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in samples])


def starts_of(lengths: Integers) -> Integers:
    """``[samples + 1]`` first row of each sample."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _digest(columns: Mapping[str, Values], starts: Integers) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(starts).data)
    for name in sorted(columns):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(columns[name]).data)
    return digest.hexdigest()


def write(path: Path, table: ReferenceTable, about: Mapping[str, str]) -> None:
    """Save one Arrow row per sample, every column a list of its tokens' values, row-major; atomically.

    Args:
        path: the file.
        table: what to save.
        about: kept in the file's metadata beside shape and hash.
    """
    import pyarrow as pa

    lists = {}
    metadata = {**about, "sha256": _digest(table.columns, table.starts)}
    for name, values in table.columns.items():
        width = values.shape[1]
        metadata[f"width.{name}"] = str(width)
        offsets = pa.array(table.starts * width, pa.int64())
        lists[name] = pa.LargeListArray.from_arrays(offsets, pa.array(values.reshape(-1)))
    rows = pa.table(lists).replace_schema_metadata(metadata)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> ReferenceTable:
    """Map the file into memory and verify its hash.

    Raises:
        CorruptReferencesError: it is not what was written.
    """
    import pyarrow as pa

    try:
        rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        metadata = {key.decode(): value.decode() for key, value in (rows.schema.metadata or {}).items()}
        columns: dict[str, Values] = {}
        starts: Integers | None = None
        for name in rows.column_names:
            column: pa.LargeListArray = rows.column(name).chunk(0)
            width = int(metadata[f"width.{name}"])
            columns[name] = np.asarray(column.values).reshape(-1, width)
            starts = np.asarray(column.offsets) // width
        assert starts is not None
        digest = _digest(columns, starts)
    except (pa.ArrowInvalid, OSError, KeyError, IndexError, ValueError, AssertionError) as error:
        raise CorruptReferencesError(f"it cannot be read ({error})") from error
    if digest != metadata.get("sha256"):
        raise CorruptReferencesError("its contents do not match the hash it was written with")
    return ReferenceTable(columns, starts)


def load_or_build(
    path: Path, build: Callable[[], ReferenceTable], about: Mapping[str, str], what: str, shared: Shared | None = None
) -> ReferenceTable:
    """The table at ``path``: read where it exists, else built once however many processes ask at the same time.

    All ranks must call it; they build together, and rank 0 alone holds the lock and writes.

    Args:
        path: the file; its name says what is in it.
        build: computes the table on all ranks together; what it returns on rank 0 counts.
        about: kept in the file's metadata.
        what: what the table holds, for messages.
        shared: what other machines share ``path`` by, where they do not see it.
    """

    def usable() -> bool:
        if shared is not None:
            shared.fetch(path)
        return _usable(path)

    def keep() -> None:
        write(path, table, about)
        if shared is not None:
            shared.publish(path)

    lock = FileLock(f"{path}.lock")
    if ranks.rank() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        acquire(lock)
    try:
        if not ranks.from_rank_zero(usable):
            if ranks.rank() == 0:
                log.info("computing %s into %s", what, path)
            table = build()
            ranks.from_rank_zero(keep)
    finally:
        lock.release()
    if shared is not None:
        shared.fetch(path)  # on the machines that rank 0 is not on
    return read(path)


def _usable(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        read(path)
    except CorruptReferencesError as error:
        log.warning("references %s are built again: %s", path, error)
        return False
    return True
