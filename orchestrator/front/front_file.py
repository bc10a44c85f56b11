"""The front of a sweep's folder, as its report holds it, or as its journal tells where that knows more."""

import json
from pathlib import Path
from typing import Any

from orchestrator.errors import OutputError
from orchestrator.record.folder import ANSWERS, JOURNAL
from orchestrator.record.journal import read_state
from orchestrator.record.sweep_state import SweepState

FRONT = "front.json"


def read_front(directory: Path) -> dict[str, Any]:
    """The front of the sweep in ``directory``, the same that ``procon status`` shows.

    The report is behind while a sweep runs or was killed, and where an earlier version wrote it, which chose the front
    in another way: then the front is built anew, and nothing is written.

    Raises:
        OutputError: there is no sweep, or its journal is damaged.
    """
    file, journal = directory / FRONT, directory / JOURNAL
    written = dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
    if journal.is_file():
        state = read_state(journal)
        current = not state.report_is_behind
        return written if written and "chosen_on" in written and current else _built(directory, state)
    if written is None:
        raise OutputError(
            f"directory ({directory}) has no {FRONT}: it holds no sweep: give the folder that procon run named"
        )
    return written


def _built(directory: Path, state: SweepState) -> dict[str, Any]:
    from orchestrator.front.document import build_front
    from orchestrator.record.answers import AnswerFolder
    from orchestrator.record.history import recorded_spec

    spec = recorded_spec(state, directory)
    answers = AnswerFolder(directory / ANSWERS)
    return build_front(spec.objectives, spec.feasible, state.records(), answers=answers, spec=spec)
