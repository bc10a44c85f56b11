"""Which trials of one model begin from others, and which are tried because they would cost little."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.front.membership import front
from orchestrator.record.trials import TrialRecord
from orchestrator.search.proposal import Proposal
from orchestrator.slots.messages import ForkJob, Update
from sweeps.schema.arms import Arm
from sweeps.schema.forks import LEAST, fork_points, forks_come, forks_on, late_ranges, with_other_ends
from sweeps.schema.spec import SweepSpec
from sweeps.space.space import SearchSpace
from training.config import TrialConfig, beginning, shared_steps
from training.evaluation.scores import Scores

EVERY = 3
"""One in so many searched trials is a fork of one on the front, where there are any that were not tried."""
DRAWS = 8
"""Ends that are drawn for each trial on the front, of which the cheapest is tried."""
CLOCKED = ("train/seconds", "train/tokens_per_second")
"""Metrics of a report that tell of the time that it took, which a fork did not."""
Kept = Callable[[str, int], bool]
"""Whether a trial's checkpoint after a step is kept."""


def _always(_trial: str, _step: int) -> bool:
    return True


@dataclass
class _Parent:
    """A trial that others may begin from."""

    config: TrialConfig
    points: tuple[int, ...]
    """Where it keeps checkpoints."""
    updates: list[Update] = field(default_factory=list)
    """Its reports and rungs."""

    @property
    def reached(self) -> int:
        """Steps that it is known to have done."""
        return max((update.step for update in self.updates), default=0)

    def until(self, step: int) -> tuple[Update, ...]:
        """What it said up to ``step``, each once."""
        said = {(update.kind, update.step): update for update in self.updates if update.step <= step}
        return tuple(sorted(said.values(), key=lambda update: (update.step, update.kind == "rung")))


class Forks:
    """The forks of one model's searched trials.

    Args:
        spec: the sweep.
        depth: decoder layers of the model.
        known: what a journal tells of its trials.
        kept: asked before a trial begins from another.
        allowed: whether there may be any.
    """

    def __init__(
        self, spec: SweepSpec, depth: int, known: Sequence[TrialRecord], kept: Kept = _always, *, allowed: bool = True
    ) -> None:
        self._spec = spec
        self._depth = depth
        self._kept = kept
        self._allowed = allowed
        self._parents: dict[str, _Parent] = {}
        self._kin: dict[str, set[str]] = {}
        """Ids of those that share anything with one another."""
        for record in known:
            if record.kind == "trial" and record.trial is not None and record.arm in spec.arms:
                config = TrialConfig.model_validate(record.trial)
                points = self.points(config, record.arm, record.params)
                self._add(record.id, _Parent(config, points, _said(record)))

    def points(self, trial: TrialConfig, arm: Arm, params: Mapping[str, Any]) -> tuple[int, ...]:
        """Steps of a searched trial after which others may part from it."""
        if not self._on(trial) or not forks_come(self._spec, arm):
            return ()
        return fork_points(trial, with_other_ends(self._spec, arm, self._depth, params))

    def begin(self, proposal: Proposal) -> None:
        """Hear of a searched trial that was proposed."""
        if proposal.job.trial is not None and proposal.kind == "trial":
            said = self._parents.get(proposal.job.id)  # of an earlier driver
            self._add(proposal.job.id, _Parent(proposal.job.trial, proposal.job.keeps, said.updates if said else []))

    def hear(self, trial: str, update: Update) -> None:
        """Hear what a trial said on its way."""
        if trial in self._parents and update.kind in ("step", "rung"):
            self._parents[trial].updates.append(update)

    def start(self, own: str, trial: TrialConfig, rungs: Iterable[int]) -> ForkJob | None:
        """Where the searched trial ``own`` begins: the latest step that another did for it.

        At every rung before that step the other must have been measured, so that pruning sees what it would see.
        """
        found: tuple[int, str] | None = None
        if not self._on(trial):
            return None
        for name in sorted(self._kin.get(beginning(trial), ())):
            step = self._from(self._parents[name], trial, rungs) if name != own else 0
            if step >= LEAST * trial.total_steps and (found is None or step > found[0]) and self._kept(name, step):
                found = step, name
        if found is None:
            return None
        step, name = found
        return ForkJob(name, step, tuple(_unclocked(update) for update in self._parents[name].until(step)))

    def settings(
        self, arm: Arm, space: SearchSpace, ended: Iterable[TrialRecord], tried: Callable[[Mapping[str, Any]], bool]
    ) -> dict[str, Any] | None:
        """Settings of a trial on the arm's front with another end, of those drawn the ones that cost least.

        Args:
            arm: whose.
            space: of the arm.
            ended: what is known of the model.
            tried: whether settings were proposed before.
        """
        late = late_ranges(self._spec, arm)
        if not self._allowed or not late:
            return None
        own = [record for record in ended if record.kind == "trial" and record.arm == arm]
        generator = np.random.default_rng([self._spec.searcher.seed, len(own)])
        found: list[tuple[int, float, dict[str, Any]]] = []
        for record in front(self._spec.objectives, self._spec.feasible, own):
            for _ in range(DRAWS):
                params = _with_another_end(space, record.params, late, generator)
                if params is None or tried(params):
                    continue
                trial = self._spec.trial_config(params, arm)
                start = self.start("", trial, ())
                if start is not None:
                    found.append((trial.total_steps - start.step, generator.random(), params))
        return min(found, key=lambda one: one[:2])[2] if found else None

    def _add(self, trial: str, parent: _Parent) -> None:
        if parent.points:
            self._parents[trial] = parent
            self._kin.setdefault(beginning(parent.config), set()).add(trial)

    def _on(self, trial: TrialConfig) -> bool:
        return self._allowed and forks_on(self._spec, trial)

    @staticmethod
    def _from(parent: _Parent, trial: TrialConfig, rungs: Iterable[int]) -> int:
        """The latest fork point of ``parent`` that ``trial`` may begin from; 0 where there is none.

        A report goes before the checkpoint of its step, so that only what follows shows that this is written.
        """
        reached, ends = parent.reached, parent.config.total_steps
        steps = [step for step in parent.points if step < reached or step == reached == ends]
        shared = shared_steps(parent.config, trial) if steps else 0
        measured = {update.step for update in parent.updates if update.kind == "rung"}
        missing = min((rung for rung in rungs if rung not in measured), default=trial.total_steps)
        return max((step for step in steps if step <= shared and step < missing), default=0)


def _with_another_end(
    space: SearchSpace, params: Mapping[str, Any], late: Iterable[str], generator: np.random.Generator
) -> dict[str, Any] | None:
    """``params`` with late fields drawn anew; None where another field would have to be drawn, too."""
    dimensions = space.dimensions()
    drawn = space.encode(params)
    drawn |= {path: dimensions[path].at(generator.random()) for path in late if path in dimensions}
    try:
        return space.decode(drawn)
    except KeyError:
        return None


def _said(record: TrialRecord) -> list[Update]:
    """The updates that a journal tells of."""
    steps = [Update("step", step, Scores(metrics)) for step, metrics in record.history]
    return [*steps, *(Update("rung", rung.step, rung.scores) for rung in record.rungs)]


def _unclocked(update: Update) -> Update:
    if update.kind == "rung":
        return update
    metrics = {name: value for name, value in update.scores.metrics.items() if name not in CLOCKED}
    return Update(update.kind, update.step, Scores(metrics, update.scores.counts, update.scores.errors))
