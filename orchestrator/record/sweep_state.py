"""Everything that a journal tells of its sweep: one fold over its events, for whoever asks while it runs or later."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any, Self

from orchestrator.record.events import Event
from orchestrator.record.trial_state import TrialState
from orchestrator.record.trials import TrialRecord

Json = dict[str, Any]


@dataclass
class SessionState:
    """One driver's time with the sweep."""

    began: float
    """In seconds since the epoch."""
    until: float
    """When it ended, else when it recorded the last that is known of it."""
    ended: Event | None = None
    """Its last word."""
    slots: list[tuple[float, int]] = field(default_factory=list)
    """From when on, in seconds since the epoch, how many slots held their resources; versions before did not say."""
    most: int = 1
    """Trials that were under way at once, at most."""

    def slot_seconds(self, until: float) -> float:
        """For how long slots were held before ``until``, added up; a start is counted like what came of it."""
        if not self.slots:
            return self.most * (until - self.began)
        times = [self.began, *(at for at, _ in self.slots[1:]), until]
        spans = zip(self.slots, pairwise(times), strict=True)
        return sum(up * max(0.0, end - begin) for (_, up), (begin, end) in spans)


@dataclass
class AtOnce:
    """Trials that have started and not ended, and the most there were at once."""

    ids: dict[str, None] = field(default_factory=dict)
    """In the order of their starts."""
    most: int = 0

    def start(self, trial: str) -> None:
        """One more."""
        self.ids[trial] = None
        self.most = max(self.most, len(self.ids))

    def end(self, trial: str) -> None:
        """One less."""
        self.ids.pop(trial, None)


class SweepState:
    """What is known of a sweep once some events of its journal, from the first on, have been taken in.

    The driver's own grows with its journal; everybody else folds the file. Both come to the same. Threads may ask while
    another takes in events.
    """

    def __init__(self) -> None:
        self.trials: dict[str, TrialState] = {}
        """In the order in which they first started."""
        self.sessions: list[SessionState] = []
        self.began: float | None = None
        """When the sweep began, in seconds since the epoch."""
        self.latest = 0.0
        """When the latest event was recorded."""
        self.spec: Json | None = None
        """The specification: the first, or the last accepted change of it."""
        self.manifest: Json = {}
        """What the last driver recorded of its machine, versions and data."""
        self.ran_under: list[tuple[Json, Json]] = []
        """Specification and manifest under which trials were started: a resumed sweep may have changed either."""
        self.runs: dict[str, str] = {}
        """MLflow run ids by key."""
        self.notes: list[str] = []
        """What slots had to say."""
        self.given_up: dict[str, str] = {}
        """Why the last driver gave a model up, by model: its preparation failed, and so would every trial of it."""
        self.seconds_built = 0.0
        """What building embedded models took."""
        self.first_trial: float | None = None
        """When the first trial was handed out, in seconds since the epoch."""
        self.pauses: list[float] = []
        """Seconds between the end of a trial and the next start of one."""
        self.report_is_behind = True
        """Whether something that the front depends on was recorded since a driver last ended, with its report."""
        self.lost_slots = 0
        """How many slots of the last driver are dead or cut off at the moment."""
        self._day: date | None = None
        self._running = AtOnce()
        self._of_model: dict[str, AtOnce] = {}
        self._last_end: float | None = None  # of a trial of this session that none has followed
        self._any_ended = False  # in this session
        self._lock = threading.RLock()

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """What ``events`` come to."""
        state = cls()
        for event in events:
            state.take(event)
        return state

    def take(self, event: Event) -> None:
        """Take in one event, in order; kinds that this version does not know tell nothing but the time."""
        with self._lock:
            self._take(event)

    def records(self) -> list[TrialRecord]:
        """Every trial, in the order in which they first started, each followed by its scaled models."""
        with self._lock:
            return [record for trial in self.trials.values() for record in trial.records()]

    def record(self, trial: str) -> TrialRecord:
        """The trial with the id ``trial``."""
        with self._lock:
            return self.trials[trial].record()

    def records_of(self, trial: str) -> list[TrialRecord]:
        """The trial with the id ``trial``, and what was measured of its model at other scales."""
        with self._lock:
            return self.trials[trial].records()

    def listed(self) -> list[TrialState]:
        """Every trial of now, in the order in which they first started."""
        with self._lock:
            return list(self.trials.values())

    @property
    def under_way(self) -> list[TrialState]:
        """Trials that the last driver has started and not ended, in the order of their starts."""
        with self._lock:
            return [self.trials[trial] for trial in self._running.ids]

    def is_under_way(self, trial: str) -> bool:
        """Whether the last driver has started ``trial`` and not ended it."""
        return trial in self._running.ids

    @property
    def slots(self) -> int:
        """The most trials that were under way at once since the last driver began; at least 1."""
        return max(1, self._running.most)

    @property
    def slots_at_work(self) -> int:
        """Those of :attr:`slots` that are not lost at the moment; at least 1."""
        return max(1, self.slots - self.lost_slots)

    @property
    def slots_up(self) -> int:
        """How many slots of the last driver hold their resources at the moment, as far as it said."""
        return self.sessions[-1].slots[-1][1] if self.sessions and self.sessions[-1].slots else 0

    def slot_seconds(self, now: float | None = None) -> float:
        """For how long slots held their resources, added up over them and over all drivers.

        Args:
            now: until when the last driver's count; None is the last thing that it recorded.
        """
        with self._lock:
            before = sum(each.slot_seconds(each.until) for each in self.sessions[:-1])
            return before + sum(each.slot_seconds(max(each.until, now or 0.0)) for each in self.sessions[-1:])

    def slots_of(self, model: str) -> int:
        """The most trials of ``model`` that had started and not ended at once; at least 1."""
        return max(1, self._of_model[model].most if model in self._of_model else 0)

    @property
    def seconds(self) -> float:
        """How long drivers worked on the sweep: each from its start to its end, else to the last thing it recorded.

        What is noted after an end, such as the id of an MLflow run that was delivered later, is no work.
        """
        return sum((session.until - session.began for session in self.sessions), start=0.0)

    @property
    def last_word(self) -> Event | None:
        """How the last driver ended, as it said itself; None where it has not."""
        return self.sessions[-1].ended if self.sessions else None

    @property
    def complete(self) -> bool:
        """Whether the last driver came to the end of all that was to be done."""
        return self.last_word is not None and not self.last_word["interrupted"]

    @property
    def day(self) -> date | None:
        """The day that the sweep's prompts are of, whichever day it is resumed or reproduced on.

        Chat templates that print the date print this one. Where no driver recorded it, as older versions did not, it is
        the day on which the sweep began; None where the journal does not say that either.
        """
        began = self.sessions[0].began if self.sessions else None
        return self._day or (date.fromtimestamp(began) if began is not None else None)

    def leave(self) -> None:
        """Its driver is gone: what it left under way has to begin again."""
        with self._lock:
            self._running = AtOnce()

    def _take(self, event: Event) -> None:
        kind, at = event["event"], event["time"]
        self.began = at if self.began is None else self.began
        self.latest = at
        starts = kind in ("sweep_started", "sweep_resumed")
        if not starts and self.sessions and self.sessions[-1].ended is None:
            self.sessions[-1].until = at
        self.spec = event.get("spec") or self.spec
        if event.get("manifest"):
            self._use(event["manifest"])
        match kind:
            case "sweep_started" | "sweep_resumed":
                self._begin_session(at)
            case "sweep_ended":
                self._end_session(event)
            case "spec_changed":
                self.report_is_behind = True
            case "model_built":
                self.seconds_built += event["seconds"]
            case "model_given_up":
                self.given_up[event["model"]] = event["error"]
            case "trial_started":
                self._start(event)
            case "trial_reported":
                self.trials[event["id"]].take_report(event)
            case "trial_rung":
                self.trials[event["id"]].take_rung(event)
            case "trial_forked":
                self.trials[event["id"]].take_fork(event)
            case "trial_scaled":
                self.trials[event["id"]].take_scaled(event)
            case "trial_ended":
                self._end(event)
            case "mlflow_run":
                self.runs[event["key"]] = event["run_id"]
            case "slots_up":
                if self.sessions:
                    self.sessions[-1].slots.append((at, event["up"]))
            case "slots_lost":
                self.lost_slots = event["lost"]
            case "note":
                self.notes.append(event["text"])

    def _use(self, manifest: Json) -> None:
        self.manifest = manifest
        if self._day is None and manifest.get("date"):
            self._day = date.fromisoformat(manifest["date"])

    def _begin_session(self, at: float) -> None:
        self.sessions.append(SessionState(at, at))
        self.given_up = {}
        self._running = AtOnce()
        self._last_end, self._any_ended = None, False
        self.lost_slots = 0

    def _end_session(self, event: Event) -> None:
        self.report_is_behind = False
        if self.sessions:
            self.sessions[-1].ended = event

    def _start(self, event: Event) -> None:
        trial, at = event["id"], event["time"]
        if "reused" not in event:
            self.first_trial = at if self.first_trial is None else self.first_trial
            if self._last_end is not None:
                self.pauses.append(at - self._last_end)
                self._last_end = None
        context = (self.spec or {}, self.manifest)
        if context not in self.ran_under:
            self.ran_under.append(context)
        known = self.trials.get(trial)
        if known is not None and known.kept:
            return
        if known is None:
            self.trials[trial] = TrialState(event, len(self.sessions), self._any_ended)
        else:
            known.restart(event, len(self.sessions), self._any_ended)
        self._running.start(trial)
        if self.sessions:
            self.sessions[-1].most = self._running.most
        self._of_model.setdefault(event["model"], AtOnce()).start(trial)

    def _end(self, event: Event) -> None:
        trial = self.trials[event["id"]]
        trial.ended = event
        self._running.end(trial.id)
        self._of_model[trial.model].end(trial.id)
        if not trial.reused:
            self._last_end, self._any_ended = event["time"], True
        self.report_is_behind = True
