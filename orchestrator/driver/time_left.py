"""How long a sweep has still to run: one estimate, over the events of its journal, for everybody who shows one."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from orchestrator.front.membership import front
from orchestrator.record.journal import Event, ended_for_good, records
from orchestrator.record.trials import Status
from sweeps.schema.spec import REFERENCES, SweepSpec
from training.config import TrialConfig


@dataclass
class _Trial:
    """One trial as the journal tells of it."""

    started: Event
    warm: bool
    """Whether its slot had served a trial before: the first one also waits for the slot, the model, the direction."""
    starts: int = 1
    step: int = 0
    ended: Event | None = None

    @property
    def trained(self) -> bool:
        return bool(self.started.get("trial"))

    @property
    def whole(self) -> bool:
        """Whether one driver ran it from its first step to its last."""
        return self.starts == 1

    @property
    def seconds(self) -> float:
        assert self.ended is not None
        return float(self.ended["time"] - self.started["time"])

    def share(self, now: float, mean: float) -> float:
        """How much of it is done: by its steps once it has reported some, by the clock before."""
        dumped = self.started.get("trial")
        if dumped and self.step:
            return min(1.0, self.step / TrialConfig.model_validate(dumped).total_steps)
        return min(1.0, (now - self.started["time"]) / mean) if mean > 0 else 1.0


class Timetable:
    """Follows a journal, from its first event on, and estimates the rest.

    What is left is a list of trials: those under way, in part; references and searched trials that have not begun;
    repetitions, as many as the front of now would need. Each takes what trials of its kind and model took so far, a
    searched one with the share of pruned trials there was. They are dealt to as many slots as ran at once since the
    last driver began.

    Args:
        spec: the sweep.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec
        self._trials: dict[str, _Trial] = {}
        self._running: set[str] = set()
        self._slots = 1
        self._any_ended = False  # since the last driver began
        self._members: tuple[int, dict[str, int]] = (-1, {})

    @property
    def slots(self) -> int:
        """The most trials that were under way at once since the last driver began; at least 1."""
        return self._slots

    def on_event(self, event: Event) -> None:
        """Take in one event of the journal, in order; reports that a later one overtakes may be left out."""
        kind = event["event"]
        if kind in ("sweep_started", "sweep_resumed"):
            self._running, self._slots, self._any_ended = set(), 1, False
        elif kind == "trial_started":
            known = self._trials.get(event["id"])
            if known is not None and known.ended is not None and ended_for_good(known.ended):
                return
            starts = 1 + (known.starts if known else 0)
            self._trials[event["id"]] = _Trial(event, self._any_ended, starts, known.step if known else 0)
            self._running.add(event["id"])
            self._slots = max(self._slots, len(self._running))
        elif kind in ("trial_reported", "trial_rung"):
            self._trials[event["id"]].step = event["step"]
        elif kind == "trial_ended":
            self._trials[event["id"]].ended = event
            self._running.discard(event["id"])
            self._any_ended = True

    def seconds_left(self, now: float) -> float | None:
        """Seconds from ``now``, in seconds since the epoch, to the end; none before a training has ended."""
        if self._mean("trial", None) is None:
            return None
        free = [0.0] * self._slots
        for seconds in sorted(self._under_way(now), reverse=True):
            _deal(free, seconds)
        for seconds in self._to_come():
            _deal(free, seconds)
        return max(free)

    def _under_way(self, now: float) -> Iterable[float]:
        for one in (self._trials[name] for name in self._running):
            mean = self._mean(one.started["kind"], one.started["model"]) or 0.0
            yield mean * (1 - one.share(now, mean))

    def _to_come(self) -> list[float]:
        """Seconds of every trial that has not begun, or has to begin again; of each model, in the order they run."""
        found: list[float] = []
        members = self._on_front()
        for model in self._spec.models:
            own = [one for one in self._trials.values() if one.started["model"] == model.name]
            begun = Counter(one.started["kind"] for one in own if self._begun(one))
            repeated = members.get(model.name, 0)
            repeated += len(REFERENCES) - 1 if repeated else 0  # the trained references are repeated too
            repeats = max(0, self._spec.seeds.replicates_on_front - 1) * repeated
            wanted = {"reference": len(REFERENCES), "trial": self._spec.trials, "replicate": repeats}
            for kind, count in wanted.items():
                found += [self._mean(kind, model.name) or 0.0] * max(0, count - begun[kind])
        return found

    def _begun(self, one: _Trial) -> bool:
        """Whether it has ended for good or is under way, so that it does not have to begin."""
        return ended_for_good(one.ended) if one.ended else one.started["id"] in self._running

    def _mean(self, kind: str, model: str | None) -> float | None:
        """Seconds that a trial of ``kind`` takes: of this model's where there are any, of warm slots where possible."""
        statuses = (Status.FINISHED, Status.PRUNED) if kind == "trial" else (Status.FINISHED,)
        ended = [one for one in self._trials.values() if one.trained and one.ended and one.ended["status"] in statuses]
        alike = [one for one in ended if one.started["kind"] == "trial"] if kind == "trial" else []
        for chosen in (alike, ended):
            of_model = [one for one in chosen if one.started["model"] == model]
            for group in (of_model, chosen):
                whole = [one for one in group if one.whole] or group
                if warm := [one for one in whole if one.warm]:
                    return fmean(one.seconds for one in warm)
                if whole:
                    return fmean(one.seconds for one in whole)
        return None

    def _on_front(self) -> dict[str, int]:
        """How many trials are on the front of now, by model."""
        ended = [one for one in self._trials.values() if one.ended and one.ended["status"] == Status.FINISHED]
        if self._members[0] != len(ended):
            members: Counter[str] = Counter()
            if self._spec.seeds.replicates_on_front:
                known = records(event for one in ended for event in (one.started, one.ended) if event is not None)
                for model in {record.model for record in known}:
                    of_model = [record for record in known if record.model == model]
                    members[model] = len(front(self._spec.objectives, self._spec.feasible, of_model))
            self._members = len(ended), members
        return self._members[1]


def _deal(free: list[float], seconds: float) -> None:
    """Give the next trial to the slot that is free first."""
    first = min(range(len(free)), key=free.__getitem__)
    free[first] += seconds
