"""Forks: where trials of one search part from each other, so that they share the steps before (pure)."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sweeps.schema.arms import Arm
from sweeps.schema.search import LEARNING
from sweeps.space.space import LogUniform, Range, Uniform
from training.config import AdapterTuning, TrialConfig, shared_steps

if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec

LATE_FIELDS = (
    "steps",
    "epochs",
    "constraint.warmup_steps",
    "constraint.warmup_epochs",
    "constraint.alpha_after",
    "constraint.decay",
)
"""Fields of a trial that may leave its first steps as they are."""
LEAST = 0.1
"""Share of a trial's steps that it must be spared for a checkpoint to be worth its room."""
AFTER = 1.5
"""Forks are proposed once an arm has searched so many times ``searcher.startup_trials``."""
MOST = 4
"""Fork points of one trial, which are spread over all where there are more; and values of one range that count."""


def forks_on(spec: "SweepSpec", trial: TrialConfig) -> bool:
    """Whether ``trial`` shares its steps with others."""
    asked = spec.searcher.forks
    return isinstance(trial.tuning, AdapterTuning) if asked is None else asked


def forks_come(spec: "SweepSpec", arm: Arm) -> bool:
    """Whether trials of an arm can share anything: by chance, where all else is drawn from few values, or proposed."""
    late = late_ranges(spec, arm)
    if not late:
        return False
    others = [one for path, one in spec.ranges_by_arm[arm].items() if path not in late]
    if not any(isinstance(one, Uniform | LogUniform) for one in others):
        return True
    trials = len(range(spec.arms.index(arm), spec.trials, len(spec.arms)))
    return spec.searcher.sampler in LEARNING and trials > AFTER * spec.searcher.startup_trials


def late_ranges(spec: "SweepSpec", arm: Arm) -> dict[str, Range]:
    """Searched ranges of an arm that may leave a trial's first steps as they are, by dotted path."""
    return {path: one for path, one in spec.ranges_by_arm[arm].items() if path in LATE_FIELDS}


def with_other_ends(spec: "SweepSpec", arm: Arm, depth: int, params: Mapping[str, Any]) -> Iterator[TrialConfig]:
    """Trials like that of ``params`` but for the end: with some values of every late field, also its own."""
    ranges = late_ranges(spec, arm)
    space = spec.space(depth, arm)
    values = [spread(one.grid(depth) or one.extremes()) for one in ranges.values()]
    for chosen in product(*values):
        try:
            drawn = space.decode(space.encode({**params, **dict(zip(ranges, chosen, strict=True))}))
            yield spec.trial_config(drawn, arm)
        except (ValueError, ValidationError):  # a field that is drawn beside some values alone has none here
            continue


def fork_points(trial: TrialConfig, others: Iterable[TrialConfig]) -> tuple[int, ...]:
    """Optimizer steps of ``trial`` after which one of ``others`` parts from it, ascending.

    Left out are those that spare less than :data:`LEAST`, and an end that is no report's of a longer trial.
    """
    found = set()
    for other in others:
        shared = shared_steps(trial, other)
        ends = shared == trial.total_steps and shared % trial.log_every != 0
        if LEAST * other.total_steps <= shared < other.total_steps and not ends:
            found.add(shared)
    return tuple(spread(sorted(found)))


def most_fork_points(spec: "SweepSpec") -> int:
    """How many fork points a trial may have, at most; 0 where none has any."""
    found = 0
    for arm in spec.arms:
        space = spec.space(1, arm)
        params = space.at([0.5] * len(space.dimensions()))
        if forks_come(spec, arm):
            ends = [one for one in with_other_ends(spec, arm, 1, params) if forks_on(spec, one)]
            found = max([found, *(len(fork_points(one, ends)) for one in ends)])
    return found


def check_forks(spec: "SweepSpec") -> None:
    """Refuse ``searcher.forks`` where no two trials of the search share anything.

    Raises:
        ValueError: the sentence says why, and what to do.
    """
    for arm, ranges in spec.ranges_by_arm.items():
        space = spec.space(1, arm)
        params = space.at([0.5] * len(space.dimensions()))
        ends = list(with_other_ends(spec, arm, 1, params)) if ranges else []
        if any(fork_points(one, ends) for one in ends):
            return
    late = [path for path in LATE_FIELDS if path in spec.ranges]
    if not late:
        raise ValueError(
            f"searcher.forks (true) has nothing to share: none of {', '.join(LATE_FIELDS)} is searched, and trials "
            "that differ in anything else differ from their first step; search one of them, or leave forks out"
        )
    restarts = getattr(spec.trial.constraint, "restart", False)
    why = (
        "trial.constraint.restart draws the samples of each stage anew"
        if restarts
        else "their samples or learning rates depend on how long they are"
    )
    raise ValueError(
        f"searcher.forks (true) has nothing to share: trials that differ in {', '.join(late)} train otherwise from "
        f"(nearly) their first step, since {why}; leave forks out"
    )


def spread(values: list[Any]) -> list[Any]:
    """At most :data:`MOST` of ``values``, evenly spaced, the first and the last among them."""
    if len(values) <= MOST:
        return values
    return [values[round(index * (len(values) - 1) / (MOST - 1))] for index in range(MOST)]
