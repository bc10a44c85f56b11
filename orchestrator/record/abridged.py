"""A journal without what ``procon status`` does not ask for, kept in the user's cache folder.

Of 10,000 trials it is a twentieth of the journal. The journal stays the only truth: what is kept names how much of the
journal it stands for and the digest of that, what was recorded since is read from the journal, and where anything does
not fit, the whole journal is read. It is written by whoever reads, so that folders may be read-only.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic_core import from_json

from orchestrator.record.atomic import write_text
from orchestrator.record.events import Event
from orchestrator.record.folder import JOURNAL
from orchestrator.record.history import recorded_spec
from orchestrator.record.journal import bytes_of, events_in, without_garbage_collection
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import is_kept
from sweeps.schema.spec import SweepSpec
from training.organism.cache import cache_root

FORMAT = 1
"""Raised whenever what is left out changes."""
WORTH = 4 * 2**20
"""Bytes of a journal that may be read before what they come to is kept."""
KEPT = 20
"""Sweeps of which something is kept, those that were asked for last."""
FOLDER = "journals"
_TIME = "time"
"""Kind of an event that says no more than when the journal's last one was recorded."""
_SCORES = ("metrics", "select_metrics", "report_metrics")
_UNASKED = ("counts", "errors", "error", "reason")


@dataclass(frozen=True)
class Abridged:
    """The beginning of a journal, abridged."""

    size: int
    """Bytes of the journal that it stands for."""
    lines: int
    """Lines of these."""
    digest: str
    """Theirs."""
    metrics: frozenset[str]
    """What is known of measurements."""
    events: tuple[Event, ...]

    @classmethod
    def read(cls, file: Path, journal: bytes) -> Self | None:
        """What ``file`` keeps; None where it is missing, damaged, of another version or of another journal."""
        try:
            first, events = file.read_bytes().split(b"\n", 1)
            about = from_json(first)
            expected = (about.pop("format"), about.pop("events"), about["digest"])
            if expected != (FORMAT, _digest(events), _digest(journal[: about["size"]])):
                return None
            about["metrics"] = frozenset(about["metrics"])
            return cls(**about, events=tuple(from_json(events, cache_strings="keys")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, file: Path) -> None:
        """Keep it in ``file``, and of the others beside that the newest; what cannot be written is not kept."""
        events = json.dumps(self.events, separators=(",", ":"))
        about = {"size": self.size, "lines": self.lines, "digest": self.digest, "metrics": sorted(self.metrics)}
        first = json.dumps({"format": FORMAT, "events": _digest(events.encode()), **about})
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, f"{first}\n{events}")
            others = sorted(file.parent.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
            for old in others[KEPT:]:
                old.unlink()


def read_status(directory: Path) -> tuple[SweepState, SweepSpec]:
    """What ``procon status`` asks of the journal in ``directory``, and the specification that it holds.

    The state knows of every trial what became of it and when, settings only of those that may go on, and of
    measurements the values that decide who is on the front.

    Raises:
        OutputError: there is no journal, a line before the last is damaged, or this version does not understand it.
    """
    journal = directory / JOURNAL
    content = bytes_of(journal)
    if len(content) <= WORTH:
        state = SweepState.of(events_in(journal, content))
        return state, recorded_spec(state, directory)
    with without_garbage_collection():
        file = kept_in(journal)
        kept = Abridged.read(file, content)
        state, events = _state(journal, content, kept)
        spec = recorded_spec(state, directory)
        wanted = _decisive(spec)
        if kept is not None and not wanted <= kept.metrics:  # the specification asks for more than it did
            kept = None
            state, events = _state(journal, content, kept)
        if len(content) - (kept.size if kept else 0) > WORTH:
            size = content.rfind(b"\n") + 1
            lines = content.count(b"\n", 0, size)
            shown = tuple(abridged(events, wanted))
            Abridged(size, lines, _digest(content[:size]), wanted, shown).write(file)
        return state, spec


def kept_in(journal: Path) -> Path:
    """The file that keeps what the journal at ``journal`` comes to."""
    return cache_root() / FOLDER / f"{_digest(str(journal.resolve()).encode())[:32]}.json"


def abridged(events: Iterable[Event], metrics: Iterable[str]) -> Iterator[Event]:
    """``events`` without reports that later ones follow, and without settings and values that decide nothing.

    Args:
        events: of a journal, from the first on; they may be abridged already.
        metrics: whose values are wanted.
    """
    wanted = tuple(sorted(metrics))
    listed = list(events)
    last: dict[str, int] = {}  # report of a trial that may go on
    final: set[str] = set()
    for place, event in enumerate(listed):
        if event["event"] in ("trial_reported", "trial_rung"):
            last[event["id"]] = place
        elif event["event"] == "trial_ended" and is_kept(event["status"], event.get("unprepared", False)):
            final.add(event["id"])
    for place, event in enumerate(listed):
        match event["event"]:
            case "trial_reported" | "trial_rung":
                if event["id"] not in final and last[event["id"]] == place:
                    yield {**event, "metrics": {}}
            case "trial_started":
                yield _without_settings(event) if event["id"] in final else event
            case "trial_ended" | "trial_scaled":
                short = {name: value for name, value in event.items() if not name.endswith(_UNASKED)}
                yield short | {name: _few(event[name], wanted) for name in _SCORES if name in event}
            case "mlflow_run" | "time":  # the second is of what was abridged before
                pass
            case "sweep_started" | "sweep_resumed":
                if place:
                    yield {"event": _TIME, "time": listed[place - 1]["time"]}
                yield event
            case _:
                yield event
    if listed:
        yield {"event": _TIME, "time": listed[-1]["time"]}


def _state(journal: Path, content: bytes, kept: Abridged | None) -> tuple[SweepState, list[Event]]:
    before = list(kept.events) if kept else []
    size, lines = (kept.size, kept.lines) if kept else (0, 0)
    events = [*before, *events_in(journal, content[size:], before, lines)]
    return SweepState.of(events), events


def _decisive(spec: SweepSpec) -> frozenset[str]:
    """The metrics that decide who is on a front of ``spec``."""
    return frozenset([*(o.metric for o in spec.objectives), *(rule.metric for rule in spec.feasible)])


def _without_settings(started: Event) -> Event:
    trial = started.get("trial")
    return {**started, "params": {}, "trial": {"seed": trial["seed"]} if trial else trial}


def _few(values: Mapping[str, float], wanted: Iterable[str]) -> dict[str, float]:
    """Of ``values`` those that are wanted; one other where there are only others, since none at all means no half."""
    found = {name: values[name] for name in wanted if name in values}
    return found or dict(list(values.items())[:1])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
