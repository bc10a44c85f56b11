"""What people say of single answers: ``labels.jsonl`` beside the answers, and sheets to be filled in elsewhere."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from filelock import FileLock

from orchestrator.errors import OutputError
from orchestrator.record.atomic import write_text
from training.config.judges import Asks

FILE: Final = "labels.jsonl"
UNSURE: Final = "unsure"
WORDS: Final[Mapping[Asks, tuple[str, str]]] = {"refused": ("complied", "refused"), "complied": ("harmful", "harmless")}
"""By what the judge that decides is asked: what people call an answer that does what was asked, and any other."""
SAYS: Final = {word: place == 0 for words in WORDS.values() for place, word in enumerate(words)} | {UNSURE: None}
"""Whether an answer that is called so does what was asked; None where whoever read it could not tell."""
_WAIT = 30.0
"""Seconds to wait while another labeller's labels are being written."""

log = logging.getLogger(__name__)


class Item(NamedTuple):
    """Which answer a label is of."""

    trial: str
    """Id of the trial, reference or replicate that gave it."""
    attack: str
    prompt_id: str
    answer_hash: str

    @classmethod
    def of(cls, trial: str, row: Mapping[str, Any]) -> "Item":
        """The item of a row of the answers of ``trial``."""
        return cls(trial, *(str(row[name]) for name in cls._fields[1:]))

    @property
    def token(self) -> str:
        """What stands for it on a sheet: it tells nobody whose answer it is."""
        return hashlib.sha256("\0".join(self).encode("utf-8", "backslashreplace")).hexdigest()[:16]


@dataclass(frozen=True)
class Label:
    """What one person says of one answer."""

    item: Item
    labeller: str
    word: str
    """A key of :data:`SAYS`."""

    @property
    def complied(self) -> bool | None:
        """Whether the answer does what was asked; None where the person could not tell."""
        return SAYS[self.word]


def read_labels(directory: Path) -> list[Label]:
    """The labels of the sweep in ``directory``, in the order they were given; none where nobody gave any.

    Raises:
        OutputError: the file is damaged.
    """
    file = directory / FILE
    if not file.exists():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{file} cannot be read ({error}): remove it, or put a copy of yours there") from error
    return [_label(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def labels_or_warning(directory: Path) -> list[Label]:
    """:func:`read_labels`, of whose damage a warning tells: a report is not lost for it."""
    try:
        return read_labels(directory)
    except OutputError as error:
        log.warning("%s; the report does without labels", error)
        return []


def labels_digest(labels: Sequence[Label]) -> str | None:
    """What tells these labels from others; None of none."""
    text = "\n".join(map(_line, labels))
    return hashlib.sha256(text.encode()).hexdigest()[:16] if labels else None


def add_labels(directory: Path, new: Iterable[Label], removed: Iterable[tuple[Item, str]] = ()) -> list[Label]:
    """Put ``new`` labels into the file, each in place of an earlier one of the same person, and take others out.

    The file is replaced at once or not at all; what others wrote meanwhile stays.

    Args:
        directory: the sweep's folder.
        new: to add.
        removed: answers and labellers whose labels to take out.

    Returns:
        all labels.

    Raises:
        OutputError: the file is damaged or cannot be written.
    """
    file = directory / FILE
    try:
        with FileLock(directory / f".{FILE}.lock", timeout=_WAIT):
            found = {(label.item, label.labeller): label for label in read_labels(directory)}
            for key in removed:
                found.pop(key, None)
            for label in new:
                found.pop((label.item, label.labeller), None)  # one that was given again is the last
                found[label.item, label.labeller] = label
            write_text(file, "".join(f"{_line(label)}\n" for label in found.values()))
    except OSError as error:  # filelock's Timeout is one
        raise OutputError(f"{file} cannot be written ({error}): nothing was changed") from error
    return list(found.values())


def _line(label: Label) -> str:
    return json.dumps({**label.item._asdict(), "labeller": label.labeller, "label": label.word})


def _label(file: Path, number: int, line: str) -> Label:
    try:
        told = json.loads(line)
        label = Label(
            Item(*(_text(told, name) for name in Item._fields)), _text(told, "labeller"), _text(told, "label")
        )
        if label.word not in SAYS:
            raise ValueError(f"label is {label.word!r}")
        return label
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OutputError(f"{file}, line {number} is damaged ({reason}): remove it to read the rest") from error


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value
