"""The search over one model's trials: what to propose next."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from orchestrator.record.trials import TrialRecord
from orchestrator.search.arm_search import ArmSearch
from orchestrator.search.forks import Forks
from orchestrator.search.proposal import Kind, Proposal
from orchestrator.search.repetitions import Repetition, next_repetition
from orchestrator.search.scalings import Scalings
from orchestrator.search.warm_start import NOTHING, WarmStart
from orchestrator.slots.messages import Job, Update
from sweeps.goals.course import course_steps
from sweeps.goals.pruning import rung_steps
from sweeps.schema.arms import CONSTRAINT, Arm
from sweeps.schema.spec import REFERENCES, SweepSpec
from training.config import ModelConfig, TrialConfig


class ModelSearch:
    """Proposes one model's references, searched trials and replicates, in this order, unfinished ones first of all.

    Args:
        spec: the sweep.
        model: one of its models.
        depth: its decoder layers.
        known: what a journal tells of the model's trials: those that ended are not run again but learnt from, those
            that were cut off are proposed again under their ids.
        earlier: what other sweeps teach.
        say: hears a sentence when something deserves one.
        forks: which trials begin from others; None lets none.
    """

    def __init__(
        self,
        spec: SweepSpec,
        model: ModelConfig,
        depth: int,
        known: Sequence[TrialRecord],
        earlier: WarmStart,
        say: Callable[[str], None],
        forks: Forks | None = None,
    ) -> None:
        self.model = model
        self.running: dict[str, Proposal] = {}
        """What was proposed and has not ended, by id."""
        self.ended: dict[str, TrialRecord] = {record.id: record for record in known if record.kept}
        """Everything that ended, by id."""
        self._spec = spec
        self._say = say
        self._unfinished = deque(record for record in known if not record.kept)
        self._scaling = Scalings(spec)
        self._forks = forks or Forks(spec, depth, known, allowed=False)
        there = {record.label for record in known if record.kind == "reference"}
        self._references = deque(label for label in REFERENCES if label not in there)
        searched = [record for record in known if record.kind == "trial"]
        self._next_number = 1 + max((_number(record.id) for record in searched), default=-1)
        index = spec.models.index(model)
        shares = {arm: len(range(place, spec.trials, len(spec.arms))) for place, arm in enumerate(spec.arms)}
        self.arms = {
            arm: ArmSearch(spec, arm, depth, index, share, known, earlier if arm == CONSTRAINT else NOTHING)
            for arm, share in shares.items()
        }
        """What is searched by turns; earlier sweeps and other models teach the arm of the constraint alone."""
        self._given_up = False
        self._wanted: tuple[tuple[int, frozenset[str]], Repetition | None] | None = None
        kept = sum(record.kept for record in searched)
        if outside := sum(len(arm.outside) for arm in self.arms.values()):
            say(
                f"{outside} of the {kept} trials of {model.name} so far lie outside the present ranges: they are kept, "
                "but nothing is learnt from them"
            )

    @property
    def searched(self) -> int:
        """Searched trials that the search will have in the end."""
        return self._count + self._to_search()

    @property
    def constraint(self) -> ArmSearch:
        """The arm of constrained trials, which every search has."""
        return self.arms[CONSTRAINT]

    @property
    def begins(self) -> bool:
        """Whether the next proposal is the first searched trial."""
        return not (self._count or self._unfinished or self._references)

    def readiness(self) -> Literal["now", "later", "never"]:
        """Whether there is something to propose, perhaps later, when running trials have ended, or never again."""
        if self._given_up:
            return "never"
        if self._unfinished or self._references or self._to_search():
            return "now"
        if not self._spec.seeds.replicates_on_front:
            return "never"
        if self._repetition() is not None:
            return "now"
        return "later" if self.running else "never"

    def give_up(self) -> None:
        """Propose nothing more: the model cannot be prepared, so every trial of it would fail alike."""
        self._given_up = True

    def try_first(self, settings: Iterable[dict[str, Any]]) -> None:
        """Propose ``settings`` of other models' constrained trials before the sampler's own proposals."""
        self.constraint.try_first(settings)

    def propose(self) -> Proposal:
        """The next proposal; only to be asked for when :meth:`readiness` says ``now``."""
        proposal = self._next()
        self.running[proposal.job.id] = proposal
        self._forks.begin(proposal)
        return proposal

    def hear(self, trial: str, update: Update) -> None:
        """Hear what a proposed trial said on its way."""
        self._forks.hear(trial, update)

    def end(self, record: TrialRecord, *scaled: TrialRecord) -> None:
        """Learn how a proposed trial ended, and what its model scored when it was ``scaled``."""
        del self.running[record.id]
        self.ended |= {one.id: one for one in (record, *scaled)}
        if record.arm in self.arms:  # a changed specification may search one arm less
            self.arms[record.arm].study.tell(record)

    def _next(self) -> Proposal:
        if self._unfinished:
            return self._again(self._unfinished.popleft())
        if self._references:
            return self._reference(self._references.popleft())
        if self._to_search():
            return self._search()
        wanted = self._repetition()
        assert wanted is not None, "nothing to propose: ask readiness() first"
        return self._proposal(
            wanted.id, "replicate", wanted.id, wanted.trial.params, wanted.settings, wanted.trial.id, wanted.trial.arm
        )

    @property
    def _count(self) -> int:
        return sum(arm.searched for arm in self.arms.values())

    def _to_search(self) -> int:
        return sum(arm.left for arm in self.arms.values())

    def _again(self, record: TrialRecord) -> Proposal:
        """What was cut off, under its id, with the very settings it had."""
        if record.kind == "trial" and record.arm in self.arms:
            self.arms[record.arm].again(record)
        assert record.kind != "scaled", "a scaled model ends with its trial"
        config = TrialConfig.model_validate(record.trial) if record.trial is not None else None
        return self._proposal(
            record.id, record.kind, record.label, record.params, config, record.replicate_of, record.arm
        )

    def _reference(self, label: str) -> Proposal:
        return self._proposal(f"{self.model.name}-{label}", "reference", label, {}, self._spec.reference_config(label))

    def _search(self) -> Proposal:
        """Of the arm that has been searched least, so that a sweep that is cut short has spent alike on all."""
        arm = min((arm for arm in self.arms.values() if arm.left), key=lambda arm: arm.searched)
        trial, params, config = arm.draw(self._forks, self.ended.values())
        job_id = f"{self.model.name}-{self._next_number:0{len(str(self._spec.trials - 1))}d}"
        arm.study.expect(job_id, trial)
        self._next_number += 1
        if arm.exhausted:
            self._say(f"the grid of {self.model.name} is exhausted after {self._count} of {self._spec.trials} trials")
        return self._proposal(job_id, "trial", job_id, params, config, arm=arm.arm)

    def _proposal(
        self,
        job_id: str,
        kind: Kind,
        label: str,
        params: Mapping[str, Any],
        trial: TrialConfig | None,
        replicate_of: str | None = None,
        arm: Arm = CONSTRAINT,
    ) -> Proposal:
        scaling = None
        if trial is not None:
            constrained = not trial.constraint.plain
            scaling = self._scaling.of(kind, replicate_of, arm, self.ended.values(), constrained=constrained)
        job = Job(job_id, self.model, trial, self._rungs(kind, trial), judged=kind == "trial", scaling=scaling)
        if kind == "trial" and trial is not None and arm in self.arms:
            keeps = self._forks.points(trial, arm, params)
            job = replace(job, keeps=keeps, fork=self._forks.start(job_id, trial, job.rungs))
        return Proposal(self.model.name, kind, label, dict(params), job, replicate_of, arm)

    def _rungs(self, kind: Kind, trial: TrialConfig | None) -> tuple[int, ...]:
        """Where a searched trial is judged on its way, and where a reference is measured without being judged."""
        pruning = self._spec.pruning
        if trial is None or kind == "replicate" or (kind == "trial" and pruning is None):
            return ()
        steps = trial.total_steps
        return rung_steps(pruning, steps) if kind == "trial" and pruning else course_steps(steps, pruning)

    def _repetition(self) -> Repetition | None:
        """Worked out anew only when something has started or ended: it takes many draws."""
        now = len(self.ended), frozenset(self.running)
        if self._wanted is None or self._wanted[0] != now:
            self._wanted = now, next_repetition(self._spec, self.ended, self.running.values())
        return self._wanted[1]


def _number(trial_id: str) -> int:
    """The number at the end of a trial's id."""
    tail = trial_id.rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1
