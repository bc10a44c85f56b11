"""The decisions of :mod:`sweeps.goals.pruning` as a Ray Tune scheduler."""

from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler

from orchestrator.record.trials import TrialRecord
from orchestrator.search.proposal import Proposal
from orchestrator.search.searcher import FrontSearcher
from orchestrator.slots.messages import Update
from sweeps.goals.pruning import PruningConfig, RungResult, decide, rung_at, rung_result
from sweeps.goals.rung_metrics import rung_goals
from sweeps.schema.arms import Arm
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig


class DominanceScheduler(FIFOScheduler):  # type: ignore[misc]
    """Judges searched trials at their rungs against all trials of their model and arm that were there before.

    A rung is a share of a trial's own steps, which need not be as many as another's.

    A trial waits at its rung for the verdict, which goes to its slot through the broker: it then ends by itself, with
    its own report, so that Tune keeps the actor. References are measured at theirs and go on; replicates have none.

    Args:
        spec: the sweep.
        searcher: knows what each Tune trial is.
        broker: handle of the broker actor.
        known: trials of earlier drivers.
        slots: trials that run at once, whose Tune actors are kept.
    """

    def __init__(
        self, spec: SweepSpec, searcher: FrontSearcher, broker: Any, known: Sequence[TrialRecord], slots: int
    ) -> None:
        super().__init__()
        self._actors_to_keep = slots
        self._pruning = spec.pruning
        self._searcher = searcher
        self._broker = broker
        self._goals = rung_goals(spec.objectives, spec.pruning.metrics) if spec.pruning else []
        self._seen: dict[tuple[str, Arm, float], dict[str, RungResult]] = {}
        """Results by model, arm and share of the steps, then by trial: an arm that was pruned by another's trials would
        have no front of its own to be compared by."""
        for record in known if self._pruning else ():
            if record.kind != "trial" or record.trial is None:
                continue
            config = TrialConfig.model_validate(record.trial)
            for rung in record.rungs:
                found = rung_result(record.id, self._goals, rung.scores)
                self._keep(record, self._rung(config, rung.step), found)

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Tune shows its controller to schedulers alone."""
        if self._actors_to_keep:
            keep_actors(controller, trial, self._actors_to_keep)
            self._actors_to_keep = 0

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Send the verdicts on the rungs among the updates; Tune itself always goes on."""
        proposal = self._searcher.proposals[trial.trial_id]
        for update in result["updates"]:
            if update.kind == "rung" and proposal.job.judged and self._pruning is not None:
                self._judge(proposal, update, self._pruning)
        return str(FIFOScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its tuner for a restore that we do from the journal."""
        return {}

    def _judge(self, proposal: Proposal, update: Update, pruning: PruningConfig) -> None:
        found = rung_result(proposal.job.id, self._goals, update.scores)
        rung = self._rung(proposal.job.trial, update.step)
        others = list(self._seen.get((proposal.model, proposal.arm, rung), {}).values()) if rung is not None else []
        decision = decide(found, others, [goal for _, goal in self._goals], pruning)
        self._keep(proposal, rung, found)
        reason = f"at step {update.step}: {decision.reason}" if decision.prune else None
        self._broker.verdict.remote(proposal.job.id, update.step, reason)

    def _rung(self, trial: TrialConfig | None, step: int) -> float | None:
        """The rung that a trial is at after ``step``; None where the rungs have changed since it was there."""
        if trial is None or self._pruning is None:
            return None
        return rung_at(self._pruning, trial.total_steps, step)

    def _keep(self, trial: TrialRecord | Proposal, rung: float | None, found: RungResult) -> None:
        if rung is not None:
            self._seen.setdefault((trial.model, trial.arm, rung), {})[found.id] = found


def keep_actors(controller: Any, trial: Any, count: int) -> None:
    """Let Ray Tune keep up to ``count`` idle trial actors until the search ends.

    With ``reuse_actors`` Tune keeps no more idle actors than it has trials waiting for one, and a single one beyond
    that. Where two trials end at about the same time, the second's actor is therefore ended, though the next proposal
    needs it: a new process has to start, and while it does, Tune gives its trial the other's actor and throws the new
    one away half started, again and again while trials are shorter than such a start.

    Args:
        controller: Tune's, as it gives itself to a scheduler. That only one actor is kept is no setting of Tune's, so
            its cache of actors is told by the one attribute that holds it (Ray 2.60).
        trial: any trial; all of a sweep ask for the same resources.
        count: trials that run at once.
    """
    controller._tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=count)
