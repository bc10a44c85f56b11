"""Any journal is read or refused in a sentence, and none makes an unfinished sweep look finished."""

import copy
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cases import VALUES, counts, damaged, holds, result, spoilt
from hypothesis import strategies as st

from orchestrator.commands.drift import draw_drift
from orchestrator.commands.status import sweep_status
from orchestrator.commands.status_table import print_status
from orchestrator.errors import OrchestratorError
from orchestrator.front.front_file import read_front
from orchestrator.record.folder import JOURNAL
from orchestrator.record.recorded_trial import recorded_trial
from orchestrator.search.warm_start import read_earlier
from orchestrator.terminal import Terminal

RECORDED = Path(__file__).parents[1] / "recorded/c2f20a1"
LINES = (RECORDED / JOURNAL).read_bytes().splitlines(keepends=True)
EVENTS = [json.loads(line) for line in LINES]


def read_or_refused(content: bytes) -> None:
    """Ask everything that reads a journal, of one in which no driver came to its end."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "sweep"
        shutil.copytree(RECORDED, directory)
        (directory / JOURNAL).write_bytes(content)
        found = result(lambda: sweep_status(directory), OrchestratorError)
        if found is not None:
            print_status(found, Terminal(file=io.StringIO()))
            assert found.state == "driver dead"
        result(lambda: read_front(directory), OrchestratorError)
        result(lambda: recorded_trial(directory, "0"), OrchestratorError)
        result(lambda: read_earlier([str(directory)]), OrchestratorError)
        result(lambda: draw_drift(directory, ["1"], None), OrchestratorError)
        assert not (directory / "front.json").exists()


@counts(12, 1000)
def test_damaged_bytes(count: int) -> None:
    holds(count, read_or_refused, content=damaged(b"".join(LINES)))


@counts(12, 1000)
def test_lines_in_any_order(count: int) -> None:
    order = st.lists(st.integers(0, len(LINES) - 1), max_size=2 * len(LINES))
    unknown = [b'{"event": "of_another_version", "time": 1e9, "id": 3}\n', b"null\n", b"\n", b'{"event": 1}\n']

    def check(order: list[int], more: list[bytes], keep_first: bool) -> None:
        lines = [LINES[number] for number in order]
        read_or_refused(b"".join([*(LINES[:1] if keep_first else []), *lines, *more, *lines[:2]]))

    holds(count, check, order=order, more=st.lists(st.sampled_from(unknown), max_size=2), keep_first=st.booleans())


@counts(20, 1500)
def test_fields_of_any_value(count: int) -> None:
    @st.composite
    def one_event_spoilt(draw: st.DrawFn) -> list[Any]:
        events = copy.deepcopy(EVENTS)
        at = draw(st.integers(0, len(events) - 1))
        events[at] = draw(st.one_of(spoilt(events[at]), VALUES))
        return events

    def check(events: list[Any]) -> None:
        spoken = [event for event in events if isinstance(event, dict) and event.get("event") == "sweep_ended"]
        if not spoken:
            read_or_refused("".join(json.dumps(event) + "\n" for event in events).encode())

    holds(count, check, events=one_event_spoilt())


@pytest.mark.parametrize("trial", ["../../outside", "/etc/passwd", "..", "", "a/b", "a\\b", "a\u0000b"])
def test_a_trial_cannot_be_called_like_a_place_outside(trial: str) -> None:
    events = copy.deepcopy(EVENTS)
    for event in events:
        if event.get("id") == "small-0":
            event["id"] = trial
    content = "".join(json.dumps(event) + "\n" for event in events)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / JOURNAL).write_text(content)
        with pytest.raises(OrchestratorError, match=r"line \d+ is damaged \(trial_started has no usable id\)"):
            sweep_status(Path(folder))
