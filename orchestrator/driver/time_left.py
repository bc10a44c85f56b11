"""How long a sweep has still to run: one estimate, of what its journal tells, for everybody who shows one."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean

from orchestrator.front.membership import front
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trial_state import TrialState
from orchestrator.record.trials import Status
from sweeps.schema.spec import REFERENCES, SweepSpec
from training.config import TrialConfig


class Timetable:
    """Estimates what is left of a sweep.

    What is left is a list of trials: those under way, in part; references and searched trials that have not begun;
    repetitions, as many as the front of now would need. Each takes what trials of its kind and model took so far, a
    searched one with the share of pruned trials there was. They are dealt to as many slots as ran at once since the
    last driver began, without those that are lost at the moment.

    Args:
        spec: the sweep.
        state: what its journal tells; asked anew for every estimate.
    """

    def __init__(self, spec: SweepSpec, state: SweepState) -> None:
        self._spec = spec
        self._state = state
        self._members: tuple[int, dict[str, int]] = (-1, {})

    def seconds_left(self, now: float) -> float | None:
        """Seconds from ``now``, in seconds since the epoch, to the end; None before a training has ended."""
        if self._mean("trial", None) is None:
            return None
        free = [0.0] * self._state.slots_at_work
        for seconds in sorted(self._under_way(now), reverse=True):
            _deal(free, seconds)
        for seconds in self._to_come():
            _deal(free, seconds)
        return max(free)

    def _under_way(self, now: float) -> Iterable[float]:
        for one in self._state.under_way:
            mean = self._mean(one.started["kind"], one.model) or 0.0
            yield mean * (1 - _share(one, now, mean))

    def _to_come(self) -> list[float]:
        """Seconds of every trial that has not begun, or has to begin again; of each model, in the order they run."""
        found: list[float] = []
        members = self._on_front()
        begun_or_over = [one for one in self._state.listed() if one.kept] + self._state.under_way
        for model in self._spec.models:
            begun = Counter(one.started["kind"] for one in begun_or_over if one.model == model.name)
            repeated = members.get(model.name, 0)
            repeated += len(REFERENCES) - 1 if repeated else 0  # the trained references are repeated too
            repeats = max(0, self._spec.seeds.replicates_on_front - 1) * repeated
            wanted = {"reference": len(REFERENCES), "trial": self._spec.trials, "replicate": repeats}
            for kind, count in wanted.items():
                found += [self._mean(kind, model.name) or 0.0] * max(0, count - begun[kind])
        return found

    def _mean(self, kind: str, model: str | None) -> float | None:
        """Seconds that a trial of ``kind`` takes: of this model's where there are any, of warm slots where possible."""
        statuses = (Status.FINISHED, Status.PRUNED) if kind == "trial" else (Status.FINISHED,)
        trained = (one for one in self._state.listed() if one.started.get("trial") and not one.reused)
        ended = [one for one in trained if one.status in statuses]
        alike = [one for one in ended if one.started["kind"] == "trial"] if kind == "trial" else []
        for chosen in (alike, ended):
            of_model = [one for one in chosen if one.model == model]
            for group in (of_model, chosen):
                whole = [one for one in group if one.starts == 1] or group
                if warm := [one for one in whole if one.warm]:
                    return fmean(one.seconds for one in warm)
                if whole:
                    return fmean(one.seconds for one in whole)
        return None

    def _on_front(self) -> dict[str, int]:
        """How many trials are on the front of now, by model."""
        finished = [one for one in self._state.listed() if one.status is Status.FINISHED]
        if self._members[0] != len(finished):
            members: Counter[str] = Counter()
            if self._spec.seeds.replicates_on_front:
                for model in {one.model for one in finished}:
                    known = [one.record() for one in finished if one.model == model]
                    members[model] = len(front(self._spec.objectives, self._spec.feasible, known))
            self._members = len(finished), members
        return self._members[1]


def _share(trial: TrialState, now: float, mean: float) -> float:
    """How much of a trial is done: by its steps once it has reported some, by the clock before."""
    dumped = trial.started.get("trial")
    if dumped and trial.step:
        return min(1.0, trial.step / TrialConfig.model_validate(dumped).total_steps)
    return min(1.0, (now - trial.started["time"]) / mean) if mean > 0 else 1.0


def _deal(free: list[float], seconds: float) -> None:
    """Give the next trial to the slot that is free first."""
    first = min(range(len(free)), key=free.__getitem__)
    free[first] += seconds
