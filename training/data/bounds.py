"""How much a file of rows may become in memory: a small one can hold terabytes of one text that is repeated."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

LONGEST_TEXT = 4 * 2**20
"""Bytes of one prompt or response: a million tokens and more, of which training reads ``max_length``."""
MOST_BYTES = 16 * 2**30
"""Of the text of one file, on a machine whose memory is twice that."""
_AT_ONCE = 2**30  # an Arrow array of texts holds 2 GiB at most


def refuse_large_file(path: str, where: str) -> None:
    """Refuse a file of text that memory does not hold.

    Raises:
        DataError: naming its size.
    """
    size = Path(path).stat().st_size
    if size > _most():
        raise _too_large(path, where, size)


def refuse_long_texts(table: "pa.Table", path: str, where: str) -> None:
    """Refuse a text that is longer than any that is meant.

    Args:
        table: columns of texts alone.
        path: where it comes from.
        where: field of the specification, for errors.

    Raises:
        DataError: naming column and row.
    """
    import pyarrow.compute as pc

    for name in table.column_names:
        lengths = pc.binary_length(table.column(name))
        longest = pc.max(lengths).as_py() or 0
        if longest > LONGEST_TEXT:
            raise _too_long(path, where, name, pc.index(lengths, longest).as_py(), longest)


def read_parquet(path: str, names: Sequence[str] | None, where: str) -> "pa.Table":
    """The columns ``names`` of a Parquet file; what they hold in memory is known before they are there.

    Args:
        path: the file.
        names: columns that it has; None reads all.
        where: field of the specification, for errors.

    Raises:
        DataError: they hold more than this machine does, or a text longer than any that is meant.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    names = schema.names if names is None else names
    if sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)) > _most():
        _refuse_large_columns(metadata, names, path, where)
    texts = [name for name in names if schema.get_field_index(name) >= 0 and _is_text(schema.field(name).type)]
    tables, total, rows = [], 0, 0
    with parquet.ParquetFile(path, read_dictionary=texts) as file:  # each distinct text once, as the file has it
        for number in range(metadata.num_row_groups):
            group = file.read_row_group(number, columns=list(names))
            for name in texts:
                total += _decoded_bytes(group.column(name), path, where, name, rows)
            if total > _most():
                raise _too_large(path, where, total)
            tables.append(_decoded(group, texts))
            rows += group.num_rows
    return pa.concat_tables(tables) if tables else pa.schema([schema.field(name) for name in names]).empty_table()


def _refuse_large_columns(metadata: "parquet.FileMetaData", names: Sequence[str], path: str, where: str) -> None:
    """Refuse what the columns ``names`` say that they hold; asked only where all together are too much.

    Arrow ends the whole process where the description of a column is damaged.
    """
    declared = sum(
        column.total_uncompressed_size
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema.partition(".")[0] in names
    )
    if declared > _most():
        raise _too_large(path, where, declared)


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _decoded_bytes(column: "pa.ChunkedArray", path: str, where: str, name: str, before: int) -> int:
    """How many bytes the texts of ``column`` are together; ``before`` is how many rows came before it."""
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        lengths = pc.take(pc.binary_length(chunk.dictionary), chunk.indices)
        longest = pc.max(lengths).as_py() or 0
        if longest > LONGEST_TEXT:
            raise _too_long(path, where, name, before + pc.index(lengths, longest).as_py(), longest)
        total += pc.sum(lengths).as_py() or 0
        before += len(chunk)
    return total


def _decoded(group: "pa.Table", texts: Sequence[str]) -> "pa.Table":
    import pyarrow as pa

    rows = _AT_ONCE // LONGEST_TEXT
    for name in texts:
        chunks = [
            chunk.slice(start, rows).dictionary_decode()
            for chunk in group.column(name).chunks
            for start in range(0, len(chunk), rows)
        ]
        column = pa.chunked_array(chunks, group.schema.field(name).type.value_type)
        group = group.set_column(group.column_names.index(name), name, column)
    return group


def _most() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MOST_BYTES, memory // 2)


def _too_large(path: str, where: str, size: int) -> DataError:
    return DataError(
        f"{where}: {path} holds {size / 2**30:,.1f} GiB of text, and {_most() / 2**30:,.1f} GiB is the most that is "
        "read on this machine: take a part of its rows"
    )


def _too_long(path: str, where: str, name: str, row: int, size: int) -> DataError:
    return DataError(
        f"{where}: column {name} of {path} has a text of {size:,} bytes in row {row}, and {LONGEST_TEXT:,} is the most "
        "that is read: shorten it, or remove the row"
    )
