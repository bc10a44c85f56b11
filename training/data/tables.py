"""Any kind of source as one Arrow table with the loader's own column names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from training.config.data import COLUMNS, Column
from training.data.bounds import read_parquet, refuse_large_file, refuse_long_texts
from training.data.hub import fault_on_hub
from training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT_COLUMN = "split"

Kind = Literal["embedded", "parquet", "json", "csv", "directory", "hub"]
FILES: tuple[Kind, ...] = ("parquet", "json", "csv")
"""Kinds that are one file on this machine."""
_SUFFIXES: dict[str, Kind] = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
}


def kind_of(path: str) -> Kind:
    """Which kind of source ``path`` names; what is neither embedded nor a file or folder is a Hub id."""
    if path.startswith("organism/"):
        return "embedded"
    suffix = Path(path).suffix
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    return "directory" if Path(path).exists() or path.startswith(("/", ".")) else "hub"


@contextmanager
def readable(path: str, where: str) -> Iterator[None]:
    """While active, what a damaged file, or one of another kind than its name says, leads to is refused.

    Raises:
        DataError: naming the field and the path.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{where}: {path} cannot be read as {kind_of(path)}: {reason}") from error


def require_path(path: str, where: str) -> None:
    """Refuse a file or folder that is not there.

    Raises:
        DataError: naming the field and the path.
    """
    if kind_of(path) in (*FILES, "directory") and not Path(path).exists():
        raise DataError(f"{where}: {path} does not exist; check the path, or data_root if it is relative")
    if kind_of(path) == "directory" and not Path(path).is_dir():
        raise DataError(
            f"{where}: {path} is a file of a kind that is not read: save its rows as {', '.join(_SUFFIXES)}, with the "
            "columns prompt and response"
        )


def rename(table: "pa.Table", columns: Mapping[Column, str], where: str) -> "pa.Table":
    """``table`` with the loader's column names, every other column but ``split`` dropped, and all values strings.

    Raises:
        DataError: a column named in ``columns`` is absent, or a wanted column does not hold text or numbers.
    """
    import pyarrow as pa

    _require_columns(table.column_names, columns, where)
    kept = {}
    for kept_as, name in _names(columns).items():
        if name not in table.column_names:
            continue
        try:
            kept[kept_as] = table.column(name).cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise _no_text(name, table.schema.field(name).type, kept_as, where) from None
    return pa.table(kept)


def _names(columns: Mapping[Column, str]) -> dict[str, str]:
    """What is read of a source: its names by the loader's."""
    return {**{column: columns.get(column, column) for column in COLUMNS}, SPLIT_COLUMN: SPLIT_COLUMN}


def _require_columns(there: Sequence[str], columns: Mapping[Column, str], where: str) -> None:
    for column, name in columns.items():
        if name not in there:
            raise DataError(f"{where}.columns.{column} ({name}) is not a column; there are: {', '.join(there)}")
    for name in _names(columns).values():
        if list(there).count(name) > 1:
            raise DataError(f"{where}: there are {list(there).count(name)} columns {name}: give each a name of its own")


def _parquet_table(path: str, columns: Mapping[Column, str], where: str) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    schema = parquet.read_schema(path)
    _require_columns(schema.names, columns, where)
    wanted = {kept_as: name for kept_as, name in _names(columns).items() if name in schema.names}
    for kept_as, name in wanted.items():
        if pa.types.is_nested(schema.field(name).type):
            raise _no_text(name, schema.field(name).type, kept_as, where)
    return read_parquet(path, list(dict.fromkeys(wanted.values())), where)


def _no_text(name: str, kind: "pa.DataType", kept_as: str, where: str) -> DataError:
    return DataError(f"{where}: column {name} holds {kind}, not text; name another column under columns.{kept_as}")


def read_json(path: str, where: str, rows: int | None = None) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, or of a ``.json`` file that holds one list.

    Args:
        path: the file.
        where: field of the specification, for errors.
        rows: read at most this many; None reads all.

    Raises:
        DataError: a line is not a JSON object.
    """
    refuse_large_file(path, where)
    with open(path, encoding="utf-8") as file:
        if path.endswith(".json"):
            start = file.read(1)
            file.seek(0)
            if start == "[":
                try:
                    listed = list(json.load(file))[:rows]
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{where}: {path} is not valid JSON ({error})") from error
                odd = next((number for number, row in enumerate(listed) if not isinstance(row, dict)), None)
                if odd is not None:
                    raise DataError(f"{where}: item {odd} of {path} is not a JSON object with named columns")
                return listed
        found: list[dict[str, Any]] = []
        for number, line in enumerate(file, start=1):
            if rows is not None and len(found) >= rows:
                break
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: line {number} of {path} is not valid JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f"{where}: line {number} of {path} is not a JSON object with named columns")
            found.append(row)
    return found


def read_csv(path: str, where: str) -> "pa.Table":
    """The rows of a ``.csv`` or ``.tsv`` file with a head line, every value as the text that it is.

    Raises:
        DataError: it is not UTF-8, or a line has another number of columns.
    """
    import pyarrow as pa
    from pyarrow import csv

    refuse_large_file(path, where)
    parse = csv.ParseOptions(delimiter="\t" if path.endswith(".tsv") else ",", newlines_in_values=True)
    try:
        with csv.open_csv(path, parse_options=parse) as head:
            names = head.schema.names
        texts = csv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=False)
        return csv.read_csv(path, parse_options=parse, convert_options=texts)
    except pa.ArrowInvalid as error:
        fix = "save it as UTF-8 text with one head line, quotes around values that hold commas, or as .jsonl"
        raise DataError(f"{where}: {path} cannot be read as csv ({str(error).splitlines()[0]}): {fix}") from error


def _embedded_table(path: str, where: str) -> "pa.Table":
    import pyarrow as pa

    from training.data.embedded.sets import EMBEDDED_SETS, embedded_set

    if path not in EMBEDDED_SETS:
        raise DataError(f"{where}: {path} is not an embedded set; there are: {', '.join(EMBEDDED_SETS)}")
    rows = [{**row, SPLIT_COLUMN: split} for split in ("train", "test") for row in embedded_set(path, split)]
    return pa.Table.from_pylist(rows)


def require_on_hub(path: str, where: str) -> None:
    """Refuse a Hub id that is none within seconds, where ``datasets`` would ask again and again.

    Raises:
        DataError: there is no such data set, or the Hub cannot be reached.
    """
    fault = fault_on_hub(path, "dataset")
    if fault:
        raise DataError(f"{where}: {path} is no file or folder here, and {fault}")


def _datasets_table(path: str, where: str) -> "pa.Table":
    """A Hub id or a local directory; its splits become a ``split`` column where the rows have none."""
    import pyarrow as pa
    from datasets import load_dataset

    if kind_of(path) == "hub":
        require_on_hub(path, where)
    try:
        splits = load_dataset(path)
    except Exception as error:  # load_dataset raises errors of a dozen libraries, and a user can act on all of them
        raise DataError(
            f"{where}: {path} could not be loaded as a data set folder or Hub id: {str(error).splitlines()[0]}"
        ) from error
    tables = []
    for name, rows in splits.items():
        table = rows.with_format("arrow")[:]
        if SPLIT_COLUMN not in table.column_names:
            table = table.append_column(SPLIT_COLUMN, pa.array([name] * table.num_rows, pa.string()))
        tables.append(table)
    return pa.concat_tables(tables, promote_options="default")


def read_table(path: str, columns: Mapping[Column, str], where: str) -> "pa.Table":
    """Everything ``path`` holds, under the loader's column names, with a ``split`` column where it has one.

    Args:
        path: *.parquet, *.jsonl, *.json, *.csv, *.tsv, an embedded set, a local directory or a Hub id.
        columns: names of columns that differ from the loader's.
        where: field of the specification, for errors.

    Raises:
        DataError: missing, unreadable, empty, or a column is absent.
    """
    import pyarrow as pa

    require_path(path, where)
    kind = kind_of(path)
    with readable(path, where):
        if kind == "embedded":
            table = _embedded_table(path, where)
        elif kind == "parquet":
            table = _parquet_table(path, columns, where)
        elif kind == "json":
            table = pa.Table.from_pylist(read_json(path, where))
        elif kind == "csv":
            table = read_csv(path, where)
        else:
            table = _datasets_table(path, where)
    if table.num_rows == 0:
        raise DataError(f"{where}: {path} holds no rows; point it at another file")
    renamed = rename(table, columns, where)
    refuse_long_texts(renamed, path, where)
    return renamed
