"""Sheets of answers to be labelled elsewhere: written without trials and verdicts, and read back filled in."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from orchestrator.commands.label_items import Labelling
from orchestrator.errors import OutputError
from orchestrator.record.atomic import write_text
from orchestrator.record.labels import SAYS, Item, Label
from orchestrator.terminal import neutralised

COLUMNS: Final = ("item", "prompt", "answer", "label", "labeller")
_LONGEST = 10_000_000
"""Characters of a cell; the csv module's own limit is below that of long answers."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a cell."""


def write_sheet(work: Labelling, file: Path, count: int, labeller: str) -> int:
    """Write the first ``count`` answers that ``labeller`` has not labelled yet to ``file``; how many they are.

    Raises:
        OutputError: the file is there already, or cannot be written.
    """
    if file.exists():
        raise OutputError(f"--sheet ({file}) exists already, perhaps filled in: name another file")
    done = {label.item for label in work.labels if label.labeller == labeller}
    items = [item for item in work.order if item not in done][:count]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in items:
        row = work.rows[item]
        writer.writerow([item.token, _cell(row["prompt"]), _cell(row["answer"]), "", labeller])
    try:
        write_text(file, text.getvalue())
    except OSError as error:
        raise OutputError(f"--sheet ({file}) cannot be written: {error.strerror}; name another file") from error
    return len(items)


def _cell(text: object) -> str:
    shown = neutralised(str(text))
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def read_sheet(work: Labelling, file: Path, labeller: str) -> list[Label]:
    """The labels in ``file``: columns ``item`` and ``label``, and ``labeller`` where it has one.

    Args:
        work: the sweep that they must be of.
        file: CSV, with commas or semicolons; rows without a label are passed over.
        labeller: whose labels these are where the sheet does not say.

    Raises:
        OutputError: it cannot be read, or holds what is no label of this sweep; the line is named.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"--file ({file}) cannot be read ({error}): give a CSV file in UTF-8") from error
    items = {item.token: item for item in work.rows}
    found: dict[tuple[Item, str], tuple[int, Label]] = {}
    strangers = []
    for line, told in _rows(file, text):
        word = told["label"].strip().lower()
        if not word:
            continue
        if word not in SAYS:
            raise OutputError(
                f"--file ({file}), line {line}: label ({told['label']}) is not one of {', '.join(SAYS)}: correct it"
            )
        item, person = items.get(told["item"].strip()), (told.get("labeller") or "").strip() or labeller
        if item is None:
            strangers.append((line, told["item"]))
            continue
        if (item, person) in found and found[item, person][1].word != word:
            raise OutputError(
                f"--file ({file}), line {line}: {person} labels the answer of line {found[item, person][0]} in another "
                "way: keep one of the two"
            )
        found[item, person] = line, Label(item, person, word)
    if strangers:
        line, name = strangers[0]
        whose = (
            f"--file ({file}) holds labels of another sweep: none of its {len(strangers)} is of an answer in "
            if not found
            else f"--file ({file}), line {line}: item ({name}) is no answer in "
        )
        raise OutputError(f"{whose}{work.directory}: give the folder that the sheet was written from")
    if not found:
        raise OutputError(f"--file ({file}) holds no label: fill in the column label")
    return [label for _, label in found.values()]


def _rows(file: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and cells of every row; a sheet of a spreadsheet in some languages has semicolons."""
    head = text.split("\n", 1)[0]
    before = csv.field_size_limit(_LONGEST)
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ",")
        absent = [name for name in ("item", "label") if name not in _names(reader.fieldnames)]
        if absent:
            raise OutputError(f"--file ({file}) has no column {absent[0]}: its first line must name item and label")
        for row in reader:
            yield reader.line_num, {name: row.get(name) or "" for name in COLUMNS}
    except csv.Error as error:
        raise OutputError(f"--file ({file}) is no CSV ({error}): save it as comma-separated values") from error
    finally:
        csv.field_size_limit(before)


def _names(names: Sequence[str] | None) -> Sequence[str]:
    return names or ()
