"""What a sweep's journal tells of how long things took: the figures that plans of later sweeps are made of (pure)."""

import itertools
import statistics
from collections.abc import Iterable, Iterator, Sequence

from orchestrator.record.journal import Event
from orchestrator.record.trials import Status
from sweeps.cost.cost import Figures, Frame


def journal_figures(events: Iterable[Event], model: str) -> Figures | None:
    """How long trials of ``model`` took; none before a training has finished and reported twice.

    A trial's time runs from when it was handed to Ray to its last word; what its steps did not take of it, it took
    besides. What the first trials took longer than later ones is what slots and model took to prepare, once a slot:
    the first trial of each slot, and the first searched one, which waits for the references of its constraint.
    """
    events = list(events)
    trials = [trial for trial in _trials(events) if trial[0]["model"] == model]
    finished = [trial for trial in trials if trial[-1].get("status") == Status.FINISHED]
    paces = [pace for trial in finished for pace in _paces(trial)]
    steps = sum(count for _, count in paces)
    if not steps:
        return None
    per_step = sum(seconds for seconds, _ in paces) / steps
    own = {trial[0]["id"] for trial in trials}
    slots = max_running(event for event in events if event.get("id") in own)  # that prepared this model
    beside = [trial[-1]["time"] - trial[0]["time"] - _steps(trial) * per_step for trial in finished]
    searched = next((number for number, trial in enumerate(finished) if trial[0].get("kind") == "trial"), 0)
    first = {*range(min(slots, len(finished))), searched}
    later = [seconds for number, seconds in enumerate(beside) if number not in first]
    # Where all were first ones, the one that waited least is nearest to what a later one takes.
    usual = max(0.0, statistics.mean(later) if later else min(beside))
    once = sum(max(0.0, beside[number] - usual) for number in first) / slots
    return Figures(per_step, usual + _pause(events), once)


def journal_frame(events: Sequence[Event]) -> Frame | None:
    """What start and end of a sweep took; none of one that was cut off or gone on with, whose clock stood still.

    The end is the time until the last event, which MLflow's answers are: who knows better passes it on.
    """
    kinds = [event["event"] for event in events]
    if kinds.count("sweep_started") != 1 or "sweep_resumed" in kinds or "sweep_ended" not in kinds:
        return None
    started = next((event["time"] for event in events if event["event"] == "trial_started"), None)
    if started is None:
        return None
    built = sum(event["seconds"] for event in events if event["event"] == "model_built")
    ended = next(event["time"] for event in events if event["event"] == "sweep_ended")
    return Frame(max(0.0, started - events[0]["time"] - built), events[-1]["time"] - ended)


def max_running(events: Iterable[Event]) -> int:
    """The most trials that had started and not ended at once since the last driver began; at least 1."""
    unended, most = set[str](), 0
    for event in events:
        kind = event["event"]
        if kind in ("sweep_started", "sweep_resumed"):
            unended, most = set(), 0
        elif kind == "trial_started":
            unended.add(event["id"])
            most = max(most, len(unended))
        elif kind == "trial_ended":
            unended.discard(event["id"])
    return max(1, most)


def _trials(events: Iterable[Event]) -> list[list[Event]]:
    """The events of every trial in order of their starts; one that was started again is timed from there."""
    trials: dict[str, list[Event]] = {}
    for event in events:
        if event["event"] == "trial_started":
            trials[event["id"]] = [event]
        elif event.get("id") in trials and event["event"] in ("trial_reported", "trial_ended"):
            trials[event["id"]].append(event)
    return list(trials.values())


def _paces(trial: Sequence[Event]) -> Iterator[tuple[float, int]]:
    """(seconds, steps) of every report but the first, whose steps also wait for references and the engine."""
    reports = [event for event in trial if event["event"] == "trial_reported"]
    for before, after in itertools.pairwise(reports):
        if "train/seconds" in after["metrics"] and after["step"] > before["step"]:
            yield after["metrics"]["train/seconds"], after["step"] - before["step"]


def _steps(trial: Sequence[Event]) -> int:
    """Steps done since the trial was last started."""
    reported = [int(event["step"]) for event in trial if event["event"] == "trial_reported"]
    return reported[-1] if reported else 0


def _pause(events: Iterable[Event]) -> float:
    """Median seconds between the end of a trial and the start of the next."""
    pauses: list[float] = []
    ended = None
    for event in events:
        if event["event"] in ("sweep_started", "sweep_resumed"):
            ended = None
        elif event["event"] == "trial_ended":
            ended = event["time"]
        elif event["event"] == "trial_started" and ended is not None:
            pauses.append(event["time"] - ended)
            ended = None
    return statistics.median(pauses) if pauses else 0.0
