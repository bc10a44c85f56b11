"""``procon status``: how a sweep stands, from its journal alone, from any shell that sees its folder."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.driver.time_left import Timetable
from orchestrator.front.membership import standings
from orchestrator.front.pooling import mean_metrics
from orchestrator.record.folder import JOURNAL
from orchestrator.record.history import recorded_spec, seconds_spent
from orchestrator.record.journal import Event, ended_for_good, models_given_up, records
from orchestrator.record.journal_digest import read_digest
from orchestrator.record.lock import driver_lives
from orchestrator.record.trials import Status
from sweeps.cost.cost import planned
from sweeps.schema.budget import Budget, spent
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig

State = Literal["running", "stopped", "ended", "driver dead"]


@dataclass(frozen=True)
class Running:
    """One trial that is being trained or measured."""

    id: str
    step: int
    """Optimizer steps reported."""
    steps: int
    """In all; 0 for the untouched base model."""
    seconds: float
    """Since it was first handed out."""


@dataclass
class Trial:
    """A trial's start and end: of thousands, whole records would take longer than all the rest."""

    started: Event
    since: float
    """When it was first handed out, in seconds since the epoch."""
    step: int = 0
    """Optimizer steps reported."""
    ended: Event | None = None

    @property
    def status(self) -> Status:
        """Where it stands."""
        return Status(self.ended["status"]) if self.ended else Status.RUNNING


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep stands."""

    directory: str
    name: str
    state: State
    reason: str | None
    """Why it stopped, or what to do about a dead driver."""
    counts: dict[str, int]
    """Trials by status, references and replicates included; ``planned`` is what the specification asks for."""
    running: list[Running]
    front: dict[str, list[str]]
    """Ids of the searched trials on the front so far, by model."""
    best: dict[str, dict[str, dict[str, float]]]
    """Their objectives on the report prompts, by model and id."""
    seconds: float
    """Worked so far, earlier drivers included."""
    seconds_left: float | None
    """Estimate; none before a trial has finished, and where nobody drives the sweep."""
    slots: int
    """Trials that ran at once, at most, since the last start."""
    used: dict[str, float | None]
    """Hours, GPU-hours and money."""
    budget: dict[str, float | None]
    over_budget: str | None
    given_up: dict[str, str]
    """Why a model's trials are not run, by model: it could not be prepared."""

    def as_json(self) -> dict[str, Any]:
        """What ``procon status --json`` prints."""
        return asdict(self)


def sweep_status(directory: Path) -> SweepStatus:
    """How the sweep in ``directory`` stands.

    Raises:
        OutputError: there is no sweep, or its journal is damaged.
    """
    events = read_digest(directory / JOURNAL)
    spec = recorded_spec(events, directory)
    found = _trials(events)
    state, reason = _state(directory, events)
    alive = state == "running"
    now = time.time()
    seconds = seconds_spent(events) + (max(0.0, now - events[-1]["time"]) if alive else 0.0)
    timetable = Timetable(spec)
    for event in events:
        timetable.on_event(event)
    slots = timetable.slots
    running = [_running(trial, now) for trial in found if trial.status is Status.RUNNING] if alive else []
    fronts = {model.name: _front(spec, [t for t in found if t.started["model"] == model.name]) for model in spec.models}
    return SweepStatus(
        directory=str(directory),
        name=spec.name,
        state=state,
        reason=reason,
        counts=_counts(spec, found, alive),
        running=running,
        front={model: list(best) for model, best in fronts.items()},
        best=fronts,
        seconds=seconds,
        seconds_left=timetable.seconds_left(now) if alive else None,
        slots=slots,
        used=vars(spent(seconds, slots, spec.resources)),
        budget=spec.budget.model_dump(),
        over_budget=Budget(spec.budget, spec.resources).exceeded(seconds, slots),
        given_up=models_given_up(events),
    )


def _state(directory: Path, events: Sequence[Event]) -> tuple[State, str | None]:
    """What the last session came to, and why."""
    if driver_lives(directory):
        return "running", None
    last = [event for event in events if event["event"] in ("sweep_started", "sweep_resumed", "sweep_ended")][-1]
    if last["event"] != "sweep_ended":
        return "driver dead", f"its driver died without a word; go on with: procon resume {directory}"
    if last["interrupted"]:
        return "stopped", last.get("reason") or "interrupted"
    return "ended", None


def _trials(events: Sequence[Event]) -> list[Trial]:
    """Every trial, by the rules of :func:`orchestrator.record.journal.records`: a start undoes an end that was none."""
    found: dict[str, Trial] = {}
    for event in events:
        kind = event["event"]
        if kind == "trial_started":
            trial = found.setdefault(event["id"], Trial(event, event["time"]))
            if trial.ended is None or not ended_for_good(trial.ended):
                trial.started, trial.ended = event, None
        elif kind == "trial_ended":
            found[event["id"]].ended = event
        elif kind in ("trial_reported", "trial_rung"):
            found[event["id"]].step = event["step"]
    return list(found.values())


def _counts(spec: SweepSpec, found: Sequence[Trial], alive: bool) -> dict[str, int]:
    """Trials by status; where nobody drives the sweep, what has no end counts as stopped."""
    counted = {status.value.lower(): 0 for status in Status}
    for trial in found:
        status = Status.STOPPED if trial.status is Status.RUNNING and not alive else trial.status
        counted[status.value.lower()] += 1
    return {"planned": planned(spec) + sum(trial.started["kind"] == "replicate" for trial in found), **counted}


def _running(trial: Trial, now: float) -> Running:
    dumped = trial.started.get("trial")
    steps = TrialConfig.model_validate(dumped).total_steps if dumped else 0
    return Running(trial.started["id"], trial.step, steps, now - trial.since)


def _front(spec: SweepSpec, found: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Objectives on the report prompts, over all seeds, of the searched trials on the front, by id."""
    ended = [
        records([trial.started, trial.ended])[0]
        for trial in found
        if trial.ended and trial.status is Status.FINISHED and trial.started["kind"] != "reference"
    ]
    shown = {}
    for member in standings(spec.objectives, spec.feasible, ended):
        if member.on_front:
            values = mean_metrics([seed.report.metrics for seed in member.seeds.finished])
            shown[member.record.id] = {o.metric: values[o.metric] for o in spec.objectives}
    return shown
