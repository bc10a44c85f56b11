"""``procon status``: how a sweep stands, from its journal alone, from any shell that sees its folder."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.driver.time_left import Timetable
from orchestrator.front.membership import standings
from orchestrator.front.pooling import mean_metrics
from orchestrator.record.abridged import read_status
from orchestrator.record.folder import named
from orchestrator.record.journal import without_garbage_collection
from orchestrator.record.lock import driver_lives
from orchestrator.record.pulled import pulled
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trial_state import TrialState
from orchestrator.record.trials import Status
from sweeps.cost.cost import planned
from sweeps.schema.budget import Budget, spent
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig
from training.storage.address import address_of

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
    """Estimate; None before a trial has finished, and where nobody drives the sweep."""
    slots: int
    """Trials that ran at once, at most, since the last start."""
    slots_lost: int
    """Those of the slots that are dead or cut off at the moment; 0 where nobody drives the sweep."""
    used: dict[str, float | None]
    """Hours, GPU-hours and money."""
    budget: dict[str, float | None]
    over_budget: str | None
    given_up: dict[str, str]
    """Why a model's trials are not run, by model: it could not be prepared."""
    notes: list[str]
    """What was noted on the way: of the slots, and of what a warm start took."""

    def as_json(self) -> dict[str, Any]:
        """What ``procon status --json`` prints."""
        return asdict(self)


def sweep_status(directory: Path) -> SweepStatus:
    """How the sweep in ``directory`` stands.

    Raises:
        OutputError: there is no sweep, or its journal is damaged.
    """
    if (address := address_of(directory)) is not None:
        directory = pulled(address, journal_alone=True)
    with without_garbage_collection():
        return _status(directory)


def _status(directory: Path) -> SweepStatus:
    state, spec = read_status(directory)
    standing, reason = _standing(directory, state)
    alive = standing == "running"
    now = time.time()
    seconds = state.seconds + (max(0.0, now - state.latest) if alive else 0.0)
    held = state.slot_seconds(now if alive else None)
    trials = state.listed()
    fronts = {model.name: _front(spec, [one for one in trials if one.model == model.name]) for model in spec.models}
    return SweepStatus(
        directory=named(directory),
        name=spec.name,
        state=standing,
        reason=reason,
        counts=_counts(spec, trials, alive),
        running=[_running(trial, now) for trial in trials if trial.status is Status.RUNNING] if alive else [],
        front={model: list(best) for model, best in fronts.items()},
        best=fronts,
        seconds=seconds,
        seconds_left=Timetable(spec, state).seconds_left(now) if alive else None,
        slots=state.slots,
        slots_lost=state.lost_slots if alive else 0,
        used=vars(spent(seconds, held, spec.resources)),
        budget=spec.budget.model_dump(),
        over_budget=Budget(spec.budget, spec.resources).exceeded(seconds, held),
        given_up=state.given_up,
        notes=list(dict.fromkeys(state.notes)),
    )


def _standing(directory: Path, state: SweepState) -> tuple[State, str | None]:
    """What the last session came to, and why."""
    if driver_lives(directory):
        return "running", None
    last = state.last_word
    if last is None:
        return "driver dead", f"its driver died without a word; go on with: procon resume {named(directory)}"
    return ("stopped", last.get("reason") or "interrupted") if last["interrupted"] else ("ended", None)


def _counts(spec: SweepSpec, trials: Sequence[TrialState], alive: bool) -> dict[str, int]:
    """Trials by status; where nobody drives the sweep, what has no end counts as stopped."""
    found = Counter(trial.status for trial in trials)
    if not alive:
        found[Status.STOPPED] += found.pop(Status.RUNNING, 0)
    counted = {status.value.lower(): found[status] for status in Status}
    return {"planned": planned(spec) + sum(trial.started["kind"] == "replicate" for trial in trials), **counted}


def _running(trial: TrialState, now: float) -> Running:
    dumped = trial.started.get("trial")
    steps = TrialConfig.model_validate(dumped).total_steps if dumped else 0
    return Running(trial.id, trial.step, steps, now - trial.since)


def _front(spec: SweepSpec, trials: Iterable[TrialState]) -> dict[str, dict[str, float]]:
    """Objectives on the report prompts, over all seeds, of the searched trials on the front, by id."""
    shown = {}
    records = [record for trial in trials if trial.status is Status.FINISHED for record in trial.records()]
    for member in standings(spec.objectives, spec.feasible, records):
        if member.on_front:
            values = mean_metrics([seed.report.metrics for seed in member.seeds.finished])
            shown[member.record.id] = {o.metric: values[o.metric] for o in spec.objectives}
    return shown
