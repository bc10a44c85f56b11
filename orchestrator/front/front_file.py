"""``front.json`` of a sweep's folder: written, and read as it is or built anew where the journal knows more."""

import json
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import OutputError
from orchestrator.front.schema.document import VERSION, FrontDocument
from orchestrator.record.atomic import write_text
from orchestrator.record.folder import ANSWERS, JOURNAL, named
from orchestrator.record.journal import read_state
from orchestrator.record.labels import Label, labels_digest, labels_or_warning
from orchestrator.record.separations import separations_of
from orchestrator.record.sweep_state import SweepState

FRONT = "front.json"


def write_front(path: Path, front: FrontDocument) -> None:
    """Write ``front`` into the file ``path``, at once or not at all.

    Raises:
        ValueError: a number in it is NaN or infinite, which JSON does not have.
    """
    write_text(path, json.dumps(front.as_json(), indent=1, allow_nan=False) + "\n")


def read_front(directory: Path) -> FrontDocument:
    """The front of the sweep in ``directory``, the same that ``procon status`` shows.

    The report is behind while a sweep runs or was killed, where another version wrote it, which may have chosen
    the front in another way, and where answers were labelled since: then the front is built anew, and nothing is
    written.

    Raises:
        OutputError: there is no sweep, its journal is damaged, or it has no journal and what another version wrote.
    """
    file, journal = directory / FRONT, directory / JOURNAL
    if journal.is_file():
        state = read_state(journal)
        labels = labels_or_warning(directory)
        written = None if state.report_is_behind else _as_written(file)
        if written is not None and written.labelled == labels_digest(labels):
            return written
        return _built(directory, state, labels)
    if not file.is_file():
        raise OutputError(
            f"directory ({named(directory)}) has no {FRONT}: it holds no sweep: give the folder that procon run named"
        )
    return _alone(file)


def _as_written(file: Path) -> FrontDocument | None:
    """The document in ``file``; None where there is none that this version wrote."""
    try:
        return FrontDocument.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def _alone(file: Path) -> FrontDocument:
    """The document in ``file``, beside which there is no journal; at first version 1 did not say its number."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return FrontDocument.model_validate({"version": VERSION, **found})
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{FRONT} ({file}) was written by another version of procon (this one reads version {VERSION}), and there "
            f"is no {JOURNAL} beside it to build the front from: put the sweep's journal there"
        ) from error


def _built(directory: Path, state: SweepState, labels: Sequence[Label]) -> FrontDocument:
    from orchestrator.front.document import build_front
    from orchestrator.record.answers import AnswerFolder
    from orchestrator.record.history import recorded_spec

    spec = recorded_spec(state, directory)
    return build_front(
        spec.objectives,
        spec.feasible,
        state.records(),
        answers=AnswerFolder(directory / ANSWERS),
        spec=spec,
        separations=separations_of(directory, spec),
        labels=labels,
    )
