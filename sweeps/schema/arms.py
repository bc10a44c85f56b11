"""The arms of a search: constrained trials, and plain fine-tuning tuned for itself with the same budget."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from sweeps.space.ranges import Choice, LogUniform, Range, parse_ranges
from training.config import UNCONSTRAINED, Config

if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec

Arm = Literal["constraint", "plain"]
CONSTRAINT: Arm = "constraint"
PLAIN: Arm = "plain"
SLOWER, FASTER = 10.0, 2.0
"""How far the learning rate of plain fine-tuning is searched below and above the trial's by default: what keeps a model
safe without a constraint is to move it less."""
SHORTER = (0.25, 0.5, 1.0)
"""Shares of the trial's length that plain fine-tuning is searched over by default."""


class PlainConfig(Config):
    """How the arm of plain fine-tuning is searched."""

    search: dict[str, Any] = Field(default_factory=dict)
    """Ranges, laid out like ``trial`` and without ``constraint``; those of ``search`` that are of no constraint are
    searched too. Without any of its own: the learning rate, and how long is trained."""


def plain_ranges(spec: "SweepSpec") -> dict[str, Range]:
    """What the plain arm of ``spec`` searches, by dotted path.

    Raises:
        ValueError: a range is of the constraint, which plain fine-tuning does not have, or cannot be read.
    """
    try:
        own = parse_ranges(spec.plain.search)
    except ValueError as error:
        raise ValueError(f"plain.{error}" if str(error).startswith("search") else str(error)) from error
    wrong = next((path for path in own if _of_constraint(path)), None)
    if wrong is not None:
        raise ValueError(f"plain.search.{wrong}: the plain arm has no constraint: put the range under search")
    lengths = ("steps", "epochs") if spec.trial.epochs is None else ("epochs", "steps")
    if lengths[1] in own:
        raise ValueError(f"plain.search.{lengths[1]} and trial.{lengths[0]} both say how long: keep one of them")
    carried = {path: searched for path, searched in spec.ranges.items() if not _of_constraint(path)}
    return {**carried, **(own or _default_ranges(spec, carried))}


def unconstrained(params: Mapping[str, Any]) -> dict[str, Any]:
    """The values ``params`` by dotted path, with the constraint that constrains nothing."""
    return {"constraint": UNCONSTRAINED.model_dump(), **params}


def _of_constraint(path: str) -> bool:
    return path.partition(".")[0] == "constraint"


def _default_ranges(spec: "SweepSpec", carried: Mapping[str, Range]) -> dict[str, Range]:
    """The learning rate and the length, where they are not searched in any case."""
    found: dict[str, Range] = {}
    rate = spec.trial.learning_rate
    if "learning_rate" not in carried:
        found["learning_rate"] = LogUniform(
            type="loguniform", low=rate / SLOWER, high=rate * FASTER, grid_points=1 + len(SHORTER)
        )
    if "steps" not in carried and "epochs" not in carried:
        field, whole = ("steps", spec.trial.steps) if spec.trial.epochs is None else ("epochs", spec.trial.epochs)
        shares = [share * whole for share in SHORTER]
        lengths = [max(1, round(length)) for length in shares] if field == "steps" else shares
        lengths = [length for length in dict.fromkeys(lengths) if _is_trial(spec, {field: length})]
        if len(lengths) > 1:
            found[field] = Choice(type="choice", values=lengths)
    return found


def _is_trial(spec: "SweepSpec", params: Mapping[str, Any]) -> bool:
    """Whether plain fine-tuning with ``params`` is a trial: a schedule may be longer than a short training."""
    try:
        spec.trial_config(unconstrained(params))
    except ValidationError:
        return False
    return True
