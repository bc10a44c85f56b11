"""Optuna's ask and tell as a Ray Tune searcher: several models share the cluster, and what transfers between them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from ray.tune.search import Searcher

from orchestrator.front.membership import front
from orchestrator.record.trials import Status, TrialRecord, at_scale
from orchestrator.search.forks import Forks, Kept
from orchestrator.search.model_search import ModelSearch
from orchestrator.search.proposal import Proposal
from orchestrator.search.warm_start import FIRST_PROPOSALS, read_earlier, settings_of, spread, warm_start
from orchestrator.slots.messages import Update
from sweeps.errors import SpecError
from sweeps.schema.arms import CONSTRAINT
from sweeps.schema.search import LEARNING
from sweeps.schema.spec import REFERENCES, SweepSpec

_ENDS = {"measured": Status.FINISHED, "pruned": Status.PRUNED, "failed": Status.FAILED}


def _silent(sentence: str) -> None:
    """Nobody listens."""


class FrontSearcher(Searcher):  # type: ignore[misc]
    """Proposes trials and learns from how they end; several objectives, feasibility rules as Optuna constraints.

    Args:
        spec: the sweep.
        depths: decoder layers by model name.
        address: ``broker`` and ``namespace`` that trials connect to.
        known: what the journal of this sweep tells, when it goes on: ended trials are learnt from, and those that were
            cut off come first, under their ids. The same records always give the same proposals.
        say: hears what deserves a sentence, such as how much of a warm start could be used.
        day: that the sweep's prompts are of (ISO).
        kept: whether a trial's checkpoint after a step is kept for others to begin from; None lets none.

    Raises:
        OutputError: a folder of ``searcher.warm_start`` holds no sweep.
        SpecError: the grid is too large for one of the models.
    """

    def __init__(
        self,
        spec: SweepSpec,
        depths: Mapping[str, int],
        address: Mapping[str, str],
        known: Sequence[TrialRecord] = (),
        say: Callable[[str], None] = _silent,
        day: str | None = None,
        kept: Kept | None = None,
    ) -> None:
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._spec = spec
        self._address = dict(address)
        self._stopping = False
        self.at_once: int | None = None
        """So many trials may be under way: more would be drawn before those before them can teach anything. None sets
        no bound."""
        self._lock = threading.RLock()  # the driver's watch asks whether the search is exhausted
        self._searches: dict[str, ModelSearch] = {}
        self.said: list[str] = []
        """What was learnt from earlier sweeps, a sentence a model."""
        earlier = read_earlier(spec.searcher.warm_start)
        for model in spec.models:
            depth = depths[model.name]
            try:
                spec.check_grid(depth)
            except ValueError as error:
                raise SpecError(f"{error} (model {model.name})") from error
            taught = warm_start(spec, model, spec.space(depth), earlier, day)
            if taught.said:
                say(taught.said)
                self.said.append(taught.said)
            own = [record for record in known if record.model == model.name]
            forks = None if kept is None else Forks(spec, depth, own, kept)
            self._searches[model.name] = ModelSearch(spec, model, depth, own, taught, say, forks)
        self.proposals: dict[str, Proposal] = {}
        """What was proposed, by Tune's trial id."""

    @property
    def namespace(self) -> str:
        """The Ray namespace of the broker that trials connect to."""
        return self._address["namespace"]

    @property
    def total(self) -> int:
        """References and searched trials of every model, those known already included; replicates come on top."""
        return sum(len(REFERENCES) + search.searched for search in self._searches.values())

    @property
    def exhausted(self) -> bool:
        """Whether nothing more will ever be proposed."""
        with self._lock:
            return self._stopping or all(search.readiness() == "never" for search in self._searches.values())

    @property
    def under_way(self) -> list[str]:
        """Ids of jobs that were proposed and have not ended, as far as Tune has told."""
        with self._lock:
            return [job_id for search in self._searches.values() for job_id in search.running]

    def stop(self) -> None:
        """Propose nothing more."""
        self._stopping = True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's Tune configuration, of the model with the fewest running trials.

        None asks to be asked again once a running trial has ended: Tune blocks, and in the end hangs, on a searcher
        that says so while nothing runs, which never happens here. ``Searcher.FINISHED`` is taken once and for all.
        """
        with self._lock:
            if self.exhausted:
                return str(Searcher.FINISHED)
            if self.at_once is not None and len(self.under_way) >= self.at_once:
                return None
            ready = [search for search in self._searches.values() if search.readiness() == "now"]
            if not ready:
                return None
            search = min(ready, key=lambda search: len(search.running))  # the first in the order of the spec when tied
            if search.begins and self._spec.searcher.sampler in LEARNING:
                search.try_first(self._settings_for(search))
            proposal = search.propose()
            self.proposals[trial_id] = proposal
            return {**self._address, "job": proposal.job}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing is learnt before a trial ends: values at rungs are for pruning, and for those who begin from it."""
        with self._lock:
            proposal = self.proposals.get(trial_id)
            if proposal is not None:
                for update in result.get("updates", ()):
                    self._searches[proposal.model].hear(proposal.job.id, update)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn how the trial ended; one without a final report failed, or was stopped from outside."""
        with self._lock:
            proposal = self.proposals.get(trial_id)
            if proposal is None or proposal.job.id not in self._searches[proposal.model].running:
                return
            update = (result or {}).get("updates", [None])[-1]
            search = self._searches[proposal.model]
            search.end(*_records(proposal, update, error))
            if update is not None and update.unprepared:
                search.give_up()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its tuner for a restore that we do from the journal."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the record from which a search is rebuilt."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the record from which a search is rebuilt."""

    def _settings_for(self, search: ModelSearch) -> list[dict[str, Any]]:
        """Settings of the front trials of models searched before, with layers at the same fraction of the depth."""
        found: list[dict[str, Any]] = []
        for other in self._searches.values():
            if other is not search:
                constrained = [record for record in other.ended.values() if record.arm == CONSTRAINT]
                members = front(self._spec.objectives, self._spec.feasible, constrained)
                carried = settings_of(members, search.constraint.space, partial(_depth, other))
                found += [settings for settings in carried if settings not in found]
        return spread(found, FIRST_PROPOSALS)


def _depth(search: ModelSearch) -> int:
    return search.constraint.space.depth


def _records(proposal: Proposal, update: Update | None, error: bool) -> list[TrialRecord]:
    """How the trial of ``proposal`` ended, from its last report, and what its model scored at other scales."""
    own = _record(proposal, update, error)
    if update is None or own.status is not Status.FINISHED:
        return [own]
    measured = [one for one in update.scaled if one.report.metrics]
    return [own, *(at_scale(own, one.scale, one.rung, one.report, one.select, update.step) for one in measured)]


def _record(proposal: Proposal, update: Update | None, error: bool) -> TrialRecord:
    status = Status.FAILED if error else _ENDS.get(update.kind if update else "", Status.STOPPED)
    found = update if update and status is Status.FINISHED else Update("stopped")
    return TrialRecord(
        id=proposal.job.id,
        model=proposal.model,
        kind=proposal.kind,
        label=proposal.label,
        status=status,
        params=dict(proposal.params),
        replicate_of=proposal.replicate_of,
        arm=proposal.arm,
        seed=proposal.seed,
        trial=proposal.settings,
        report=found.report,
        select=found.select,
    )
