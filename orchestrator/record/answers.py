"""The answers a sweep keeps, one Parquet file a trial: read for statistics, and found for people to read."""

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import OutputError
from orchestrator.record.atomic import write_with
from orchestrator.record.folder import ANSWERS, named
from orchestrator.record.trial_ids import whole_id
from training.evaluation.columns import TEXTS, VERDICT

Row = Mapping[str, Any]
_VERDICTS = ("refused", "complied", "correct")
_NEEDED = {"set", "prompt_id", "family", *_VERDICTS}
_SINCE_ROLES = {"role", "split", "attack"}
"""Columns that files have had since they told the roles of sets."""
Asked = Literal["yes", "no", "unknown"]

log = logging.getLogger(__name__)


class AnswerFolder(Mapping[str, list[Row]]):
    """The rows of every trial by its id, without the texts; a file is read when its trial is first asked for.

    Args:
        folder: ``answers/`` of a sweep; one that is missing holds no trial.
    """

    def __init__(self, folder: Path) -> None:
        self._files = _files(folder)
        self._read: dict[str, list[Row]] = {}

    def __getitem__(self, trial: str) -> list[Row]:
        """The rows of ``trial``; KeyError where it left none, or a file that is damaged, which a warning tells."""
        if trial not in self._read:
            try:
                self._read[trial] = _rows(self._files[trial], texts=False)
            except OutputError as error:
                log.warning("%s; the front goes by the journal alone there", error)
                del self._files[trial]
                raise KeyError(trial) from error
        return self._read[trial]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@dataclass(frozen=True)
class Wanted:
    """Which answers to show; None of a field means any."""

    name: str | None = None
    """Name of a prompt set or of an attack."""
    refused: Asked | None = None
    """``unknown`` where no judge gave a verdict."""
    correct: Literal["yes", "no"] | None = None
    """Of task prompts."""
    split: Literal["select", "report"] | None = None
    """What the search saw, or what the front shows."""

    def takes(self, row: Row) -> bool:
        """Whether ``row`` is among them."""
        named = self.name is None or self.name in (row["set"], row.get("attack"))
        refused = self.refused is None or _asked(row["refused"]) == self.refused
        correct = self.correct is None or (row["correct"] is not None and _asked(row["correct"]) == self.correct)
        return named and refused and correct and (self.split is None or row.get("split", self.split) == self.split)


def read_answers(directory: Path, trial: str, wanted: Wanted) -> list[dict[str, Any]]:
    """The answers of ``trial`` that are ``wanted``, in the order they were measured.

    Args:
        directory: the sweep's output folder.
        trial: the id of a trial or reference, or its ending where that is unambiguous.
        wanted: what to leave out.

    Raises:
        OutputError: the sweep kept no answers, or none of this trial; no set or attack has the wanted name.
    """
    files = _files(directory / ANSWERS)
    if not files:
        raise OutputError(
            f"directory ({named(directory)}) holds no {ANSWERS}/: give the folder of a sweep with a measured trial"
        )
    trial = whole_id(trial, list(files), f"left no answers in {named(directory)}")
    rows = _rows(files[trial], texts=True)
    names = list(dict.fromkeys(str(row[key]) for key in ("set", "attack") for row in rows if row.get(key)))
    if wanted.name is not None and wanted.name not in names:
        near = difflib.get_close_matches(wanted.name, names, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names)}"
        raise OutputError(f"--set ({wanted.name}) is neither a prompt set nor an attack of trial {trial}: {advice}")
    return [dict(row) for row in rows if wanted.takes(row)]


def write_answers(folder: Path, trial: str, answers: Sequence[Row]) -> None:
    """Put the answers of ``trial`` where :func:`read_answers` finds them: the whole file at once or nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pylist([{"trial": trial, **answer} for answer in answers])
    write_with(folder / f"{trial}.parquet", lambda path: pq.write_table(table, path))


def copy_answers(file: Path, folder: Path, trial: str) -> None:
    """Put the answers in ``file``, which another sweep wrote, where those of ``trial`` are looked for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    table = pq.read_table(file)
    named = pa.array([trial] * len(table))
    table = table.set_column(table.schema.get_field_index("trial"), "trial", named)
    write_with(folder / f"{trial}.parquet", lambda path: pq.write_table(table, path))


def _files(folder: Path) -> dict[str, Path]:
    return dict(sorted((file.stem, file) for file in folder.glob("*.parquet")))


def _rows(file: Path, texts: bool) -> list[Row]:
    """The rows in ``file``.

    Raises:
        OutputError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            names = [name for name in parquet.schema_arrow.names if texts or name not in TEXTS]
            names_of_verdicts = [*_VERDICTS, *(name for name in names if name.startswith(VERDICT))]
            absent = sorted((_NEEDED | (_SINCE_ROLES if "role" in names else set())) - set(names))
            if absent:
                raise ValueError(f"there is no column {absent[0]}")
            for name in names_of_verdicts:
                kind = parquet.schema_arrow.field(name).type
                if not (pa.types.is_boolean(kind) or pa.types.is_null(kind)):
                    raise ValueError(f"{name} holds {kind}, not true and false")
            rows: list[Row] = parquet.read(columns=names).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise OutputError(
            f"{file} is damaged ({reason}): procon reproduce gives the answers of one trial anew"
        ) from error
    return rows


def _asked(verdict: bool | None) -> Asked:
    return "unknown" if verdict is None else "yes" if verdict else "no"
