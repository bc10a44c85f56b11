"""Whether an event of a journal can be what a driver wrote: journals come from disks, and from other people."""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from orchestrator.record.events import Event
from orchestrator.record.trials import Status

Test = Callable[[Any], bool]
_KINDS_OF_TRIALS = ("trial", "reference", "replicate")


def _text(value: Any) -> bool:
    return type(value) is str


def _number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _block(value: Any) -> bool:
    return type(value) is dict


def _numbers(value: Any) -> bool:
    return type(value) is dict and set(map(type, value.values())) <= _NUMBERS


def _counts(value: Any) -> bool:
    return type(value) is dict and all(
        type(one) is list and len(one) == 2 and _count(one[0]) and _count(one[1]) and one[0] <= one[1]
        for one in value.values()
    )


def _spec(value: Any) -> bool:
    """Enough of a specification for what reads journals; whatever else it holds is checked by who uses it."""
    models = value.get("models") if type(value) is dict else None
    return (
        type(models) is list
        and bool(models)
        and all(type(model) is dict and _text(model.get("name")) and model["name"] for model in models)
    )


def _settings(value: Any) -> bool:
    return type(value) is dict and (not value or type(value.get("seed")) is int)


def _file_name(value: Any) -> bool:
    """Of a trial, whose answers and checkpoints lie under its id."""
    return type(value) is str and value not in ("", ".", "..") and not any(sign in value for sign in "/\\\0")


def _manifest(value: Any) -> bool:
    if type(value) is not dict:
        return False
    day = value.get("date")
    try:
        return day is None or bool(date.fromisoformat(day))
    except (ValueError, TypeError):
        return False


def _fork(value: Any) -> bool:
    return type(value) is dict and _file_name(value.get("trial")) and _count(value.get("step"))


def _none_or(test: Test) -> Test:
    return lambda value: value is None or test(value)


_NUMBERS = {float, int}
_STATUSES = frozenset(Status)
_SCORES: dict[str, Test] = {"metrics": _numbers, "counts": _counts, "errors": _numbers}
_NEEDED: dict[str, dict[str, Test]] = {
    "sweep_ended": {"interrupted": lambda value: type(value) is bool},
    "spec_changed": {"spec": _spec},
    "model_built": {"model": _text, "seconds": _number},
    "model_given_up": {"model": _text, "error": _text},
    "trial_started": {
        "id": _file_name,
        "model": _text,
        "kind": _KINDS_OF_TRIALS.__contains__,
        "label": _text,
        "params": _block,
    },
    "trial_reported": {"id": _text, "step": _count, "metrics": _numbers},
    "trial_rung": {"id": _text, "step": _count, "metrics": _numbers},
    "trial_scaled": {"id": _text, "step": _count, "scale": _number, "metrics": _numbers},
    "trial_forked": {"id": _text, "of": _text, "step": _count},
    "trial_ended": {"id": _text, "status": lambda value: type(value) is str and value in _STATUSES},
    "mlflow_run": {"key": _text, "run_id": _text},
    "note": {"text": _text},
    "slots_lost": {"lost": _count},
    "slots_up": {"up": _count},
}
"""What the events of a kind have had since the first version."""
_POSSIBLE: dict[str, dict[str, Test]] = {
    "sweep_started": {"spec": _spec, "manifest": _manifest},
    "sweep_resumed": {"manifest": _manifest},
    "sweep_ended": {"reason": _none_or(_text)},
    "trial_started": {
        "trial": _none_or(_settings),
        "replicate_of": _none_or(_text),
        "arm": _text,
        "reused": _text,
        "forked_from": _fork,
    },
    "trial_rung": {"counts": _counts, "errors": _numbers},
    "trial_scaled": {
        **_SCORES,
        **{f"{half}_{name}": test for half in ("report", "select") for name, test in _SCORES.items()},
    },
    "trial_ended": {
        **_SCORES,
        **{f"select_{name}": test for name, test in _SCORES.items()},
        "error": _none_or(_text),
        "reason": _none_or(_text),
        "unprepared": lambda value: type(value) is bool,
    },
}
"""What they may have."""


class Shapes:
    """Checks one journal, event by event.

    Args:
        before: events that were checked already.
    """

    def __init__(self, before: Iterable[Event] = ()) -> None:
        self._started: set[str] = {event["id"] for event in before if event["event"] == "trial_started"}

    def fault(self, event: Any) -> str | None:
        """Why no driver wrote ``event``, or not at this place; None where one may have."""
        if type(event) is not dict or not _text(event.get("event")) or not _number(event.get("time")):
            return "it is no event with its kind and time"
        kind: str = event["event"]
        if kind == "trial_reported" and self._is_report(event):  # nearly all that there are
            return None
        for name, test in _NEEDED.get(kind, {}).items():
            if name not in event or not test(event[name]):
                return f"{kind} has no usable {name}"
        for name, test in _POSSIBLE.get(kind, {}).items():
            if name in event and not test(event[name]):
                return f"{kind} has no usable {name}"
        if kind == "trial_started":
            self._started.add(event["id"])
        elif (
            kind in ("trial_reported", "trial_rung", "trial_scaled", "trial_forked", "trial_ended")
            and event["id"] not in self._started
        ):
            return f"{kind} is of {event['id']}, which has not started"
        return None

    def _is_report(self, event: Event) -> bool:
        metrics = event.get("metrics")
        known = _count(event.get("step")) and _text(event.get("id")) and event["id"] in self._started
        return known and type(metrics) is dict and set(map(type, metrics.values())) <= _NUMBERS
