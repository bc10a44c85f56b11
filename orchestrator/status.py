"""``procon status``: how a sweep stands, from its journal alone, from any shell that sees its folder."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.driver import driver_lives
from orchestrator.journal import Event, ended_for_good, models_given_up, records
from orchestrator.journal_digest import read_digest
from orchestrator.measured import max_running
from orchestrator.membership import standings
from orchestrator.output import JOURNAL
from orchestrator.pooling import mean_metrics
from orchestrator.records import Status
from orchestrator.session import recorded_spec, seconds_spent
from sweeps.budget import Budget, spent
from sweeps.spec import REFERENCES, SweepSpec
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
    slots = max_running(events)
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
        seconds_left=_seconds_left(spec, found, running, slots, fronts) if alive else None,
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
    """Every trial, by the rules of :func:`orchestrator.journal.records`: a new start undoes an end that was none."""
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
    return {"planned": _planned(spec) + sum(trial.started["kind"] == "replicate" for trial in found), **counted}


def _planned(spec: SweepSpec) -> int:
    """References and searched trials; how many replicates will follow is decided on the way."""
    return len(spec.models) * (len(REFERENCES) + spec.trials)


def _running(trial: Trial, now: float) -> Running:
    dumped = trial.started.get("trial")
    steps = TrialConfig.model_validate(dumped).total_steps if dumped else 0
    return Running(trial.started["id"], trial.step, steps, now - trial.since)


def _seconds_left(
    spec: SweepSpec, found: Sequence[Trial], running: Sequence[Running], slots: int, fronts: Mapping[str, Any]
) -> float | None:
    """Mean time of the trials that came to an end x those to come, shared by the slots; what runs counts in part.

    Of replicates, as many are to come as the present front's members and the trained references would need.
    """
    times: list[float] = [
        trial.ended["time"] - trial.since
        for trial in found
        if trial.ended and trial.status in (Status.FINISHED, Status.PRUNED) and trial.started.get("trial")
    ]
    if not times:
        return None
    begun = Counter(trial.started["kind"] == "replicate" for trial in found if trial.status is not Status.STOPPED)
    repeated = sum(len(front) + len(REFERENCES) - 1 for front in fronts.values() if front)
    repeats = max(0, spec.seeds.replicates_on_front - 1) * repeated
    part = sum(1 - one.step / one.steps if one.steps else 0.5 for one in running)
    to_come = max(0, _planned(spec) - begun[False]) + max(0, repeats - begun[True])
    return (to_come + part) * sum(times) / len(times) / slots


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
            values = mean_metrics([seed.metrics for seed in member.seeds.finished])
            shown[member.record.id] = {o.metric: values[o.metric] for o in spec.objectives}
    return shown
