"""Refusing a bad source before anything starts, from schemas and first rows only."""

from collections.abc import Mapping, Sequence

from training.config.data import Column, Source, SplitSource
from training.data.bounds import read_parquet
from training.data.sources import paths_of
from training.data.tables import FILES, SPLIT_COLUMN, kind_of, read_csv, read_json, readable, require_path
from training.errors import DataError

_FIRST_ROWS = 20


def _columns_of(path: str, where: str) -> list[str]:
    """The names of the columns of ``path``, read from its schema or its first rows."""
    from pyarrow import parquet

    kind = kind_of(path)
    if kind == "embedded":
        from training.data.embedded.sets import EMBEDDED_SETS, embedded_columns

        if path not in EMBEDDED_SETS:
            raise DataError(f"{where}: {path} is not an embedded set; there are: {', '.join(EMBEDDED_SETS)}")
        return [*embedded_columns(path), SPLIT_COLUMN]
    with readable(path, where):
        if kind == "parquet":
            metadata = parquet.ParquetFile(path)
            if metadata.metadata.num_rows == 0:
                raise DataError(f"{where}: {path} holds no rows; point it at another file")
            return list(metadata.schema_arrow.names)
        if kind == "csv":
            table = read_csv(path, where)
            if table.num_rows == 0:
                raise DataError(f"{where}: {path} holds no rows; point it at another file")
            return list(table.column_names)
        rows = read_json(path, where, rows=_FIRST_ROWS)
    if not rows:
        raise DataError(f"{where}: {path} holds no rows; point it at another file")
    return list(dict.fromkeys(name for row in rows for name in row))


def _check_columns(path: str, columns: Mapping[Column, str], need: Sequence[Column], where: str) -> None:
    there = _columns_of(path, where)
    for column in dict.fromkeys([*need, *columns]):
        name = columns.get(column, column)
        if name not in there:
            fix = f"change columns.{column}" if column in columns else f"name it under columns.{column}"
            raise DataError(f"{where}: {path} has no column {name} (there are: {', '.join(there)}); {fix}")


def _split_values(path: str, where: str) -> set[str]:
    """The values of the ``split`` column of ``path``; empty where there is none."""
    from pyarrow import parquet

    if kind_of(path) == "embedded":
        return {"train", "test"}
    if kind_of(path) == "parquet":
        with readable(path, where):
            if SPLIT_COLUMN not in parquet.ParquetFile(path).schema_arrow.names:
                return set()
            values = read_parquet(path, [SPLIT_COLUMN], where).column(0).unique()
        return {str(value) for value in values.to_pylist()}
    if kind_of(path) == "csv":
        table = read_csv(path, where)
        return set(table.column(SPLIT_COLUMN).unique().to_pylist()) if SPLIT_COLUMN in table.column_names else set()
    return {str(row[SPLIT_COLUMN]) for row in read_json(path, where) if SPLIT_COLUMN in row}


def _check_side(side: Source | SplitSource, columns: Mapping[Column, str], need: Sequence[Column], where: str) -> None:
    paths = paths_of(side)
    if not paths:
        raise DataError(f"{where}.path is an empty list: name at least one file")
    readable = []
    for path in paths:
        require_path(path, where)
        if kind_of(path) in ("embedded", *FILES):
            _check_columns(path, columns, need, where)
            readable.append(path)
    wanted = side.split if isinstance(side, SplitSource) else None
    if wanted is not None and len(readable) == len(paths):
        values = set().union(*(_split_values(path, where) for path in paths))
        if wanted not in values:
            there = f"the values are: {', '.join(sorted(values)[:10])}" if values else "there is no split column"
            raise DataError(f"{where}.split ({wanted}) matches no row of {paths[0]}; {there}")


def held_out(source: Source, *, field: str) -> Source:
    """``source`` as one that is only measured on: its test rows where it marks any, else all of its rows.

    A Hub id or folder stays as it is, so that half of what has no splits of its own is used.

    Args:
        source: with absolute paths.
        field: dotted name of the source in the specification, for errors.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    if source.path is None or not all(kind_of(path) in ("embedded", *FILES) for path in paths_of(source)):
        return source
    values: set[str] = set()
    for path in paths_of(source):
        require_path(path, field)
        values |= _split_values(path, field)
    everything = SplitSource(path=source.path, split="test" if "test" in values else None)
    return source.model_copy(update={"path": None, "train": everything, "test": everything})


def check_source(source: Source, *, field: str, need: Sequence[Column]) -> None:
    """Refuse a source that could not be loaded, without loading it; a Hub id is only checked when it is loaded.

    Args:
        source: with absolute paths.
        field: dotted name of the source in the specification, for errors.
        need: columns that must be there.

    Raises:
        DataError: a missing file, an unknown embedded set, no rows, an absent column, or a ``split`` no row has.
    """
    if source.path is not None:
        _check_side(source, source.columns, need, field)
        return
    for name, side in (("train", source.train), ("test", source.test)):
        assert side is not None  # the schema asks for both
        _check_side(side, source.columns, need, f"{field}.{name}")
