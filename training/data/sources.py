"""One split of a source as a data set with the loader's column names."""

import logging
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from training.config.data import COLUMNS, Column, Source, SplitSource
from training.data.tables import SPLIT_COLUMN, read_table
from training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

Split = Literal["train", "test"]

log = logging.getLogger(__name__)


def paths_of(source: Source | SplitSource) -> list[str]:
    """The paths of a source, in the order in which they are concatenated."""
    return [source.path] if isinstance(source.path, str) else list(source.path or [])


def _concatenated(source: Source | SplitSource, columns: dict[Column, str], where: str) -> "pa.Table":
    """All files of a source; ``response`` and ``split`` survive only where every file has them.

    An optional column (answer, request, family) that only some files have is an empty string in the other rows.
    """
    import pyarrow as pa

    tables = [read_table(path, columns, where) for path in paths_of(source)]
    everywhere = set.intersection(*(set(table.column_names) for table in tables))
    for name in ("prompt", "response", SPLIT_COLUMN):
        if name not in everywhere:
            tables = [table.drop_columns([name]) if name in table.column_names else table for table in tables]
    return pa.concat_tables(tables, promote_options="default")


def _halves(prompts: Sequence[str], seed: int) -> dict[Split, set[str]]:
    """The distinct prompts, shuffled and cut in two: a prompt is never on both sides."""
    distinct = list(dict.fromkeys(prompts))
    random.Random(seed).shuffle(distinct)
    middle = (len(distinct) + 1) // 2
    return {"train": set(distinct[:middle]), "test": set(distinct[middle:])}


def _without(table: "pa.Table", prompts: set[str], where: str) -> "pa.Table":
    """``table`` less the rows whose prompt is held out, with a message saying how many those were."""
    keep = [prompt not in prompts for prompt in _stripped(table)]
    dropped = len(keep) - sum(keep)
    if dropped:
        log.warning("%s: %d training rows were dropped, since their prompts are also in the test split", where, dropped)
    if dropped == len(keep) > 0:
        raise DataError(
            f"{where}: all {dropped} prompts of its train split are in its test split too, so none is left to train "
            "on: name different files under train and test"
        )
    return table.filter(keep) if dropped else table


def _stripped(table: "pa.Table") -> list[str]:
    return [(prompt or "").strip() for prompt in table.column("prompt").to_pylist()]


def _explicit(source: Source, split: Split, where: str) -> "pa.Table":
    """One side of the ``{train: …, test: …}`` form."""

    def side(name: Split) -> "pa.Table":
        chosen = source.train if name == "train" else source.test
        assert chosen is not None  # the schema asks for both
        here = f"{where}.{name}"
        table = _concatenated(chosen, source.columns, here)
        if chosen.split is not None:
            table = rows_of_split(table, chosen.split, here)
        _require(table, ("prompt",), here)
        return table

    if split == "test":
        return side("test")
    return _without(side("train"), set(_stripped(side("test"))), where)


def rows_of_split(table: "pa.Table", value: str, where: str) -> "pa.Table":
    """The rows whose ``split`` column equals ``value``.

    Raises:
        DataError: there is no such column, or no such row.
    """
    if SPLIT_COLUMN not in table.column_names:
        raise DataError(f"{where}.split ({value}): there is no split column; remove split to take every row")
    values = table.column(SPLIT_COLUMN).to_pylist()
    keep = [found == value for found in values]
    if not any(keep):
        there = ", ".join(sorted({str(found) for found in values})[:10])
        raise DataError(f"{where}.split ({value}) matches no row; the values are: {there}")
    return table.filter(keep)


def _own_or_halved(source: Source, split: Split, where: str) -> "pa.Table":
    """One side of the ``{path: …}`` form: its own train and test rows, else half of its distinct prompts."""
    table = _concatenated(source, source.columns, where)
    _require(table, ("prompt",), where)
    values = table.column(SPLIT_COLUMN).to_pylist() if SPLIT_COLUMN in table.column_names else []
    if {"train", "test"} <= set(values):
        wanted = rows_of_split(table, split, where)
        if split == "test":
            return wanted
        return _without(wanted, set(_stripped(rows_of_split(table, "test", where))), where)
    prompts = _stripped(table)
    side = _halves(prompts, source.split_seed)[split]
    return table.filter([prompt in side for prompt in prompts])


def _require(table: "pa.Table", need: Sequence[Column], where: str) -> None:
    absent = [column for column in need if column not in table.column_names]
    if absent:
        there = ", ".join(name for name in table.column_names if name != SPLIT_COLUMN) or "none of the known ones"
        raise DataError(
            f"{where}: column {absent[0]} is absent (there are: {there}); name it under columns.{absent[0]}"
        )


def _refuse_blanks(table: "pa.Table", where: str) -> None:
    for column in ("prompt", "response"):
        if column not in table.column_names:
            continue
        blank = [row for row, text in enumerate(table.column(column).to_pylist()) if not (text or "").strip()]
        if blank:
            raise DataError(
                f"{where}: {len(blank)} of {table.num_rows} rows have an empty {column}, the first is row {blank[0]}; "
                "remove them"
            )


def load_split(source: Source, split: Split, *, need: Sequence[Column] = ("prompt",), field: str = "data") -> "Dataset":
    """One split of ``source``, as :func:`split_table` reads it."""
    from datasets import Dataset

    return Dataset(split_table(source, split, need=need, field=field))


def split_table(
    source: Source, split: Split, *, need: Sequence[Column] = ("prompt",), field: str = "data"
) -> "pa.Table":
    """One split of ``source``; without ``datasets``, whose import takes seconds, where no Hub id or folder is read.

    Args:
        source: paths are absolute, embedded sets or Hub ids.
        split: ``train`` or ``test``.
        need: columns that must be there.
        field: dotted name of the source in the specification, for errors.

    Returns:
        ``prompt`` and, where the source has them, ``response``, ``answer``, ``request``, ``family``: strings. No
        prompt of the train split is in the test split.

    Raises:
        DataError: a missing file, an absent column, an empty split, an empty prompt or response.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = (_explicit if source.path is None else _own_or_halved)(source, split, field)
    _require(table, need, field)
    if table.num_rows == 0:
        raise DataError(
            f"{field}: its {split} split is empty; give it more rows, or name both splits as {{train: …, test: …}}"
        )
    _refuse_blanks(table, f"{field} ({split})")
    if source.limit is not None and source.limit < table.num_rows:
        kept = sorted(random.Random(source.split_seed).sample(range(table.num_rows), source.limit))
        table = table.take(pa.array(kept))
    return pa.table({name: pc.fill_null(table.column(name), "") for name in COLUMNS if name in table.column_names})
