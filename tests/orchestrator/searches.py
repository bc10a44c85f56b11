"""A search driven without Ray: proposals are taken and ended as Tune would."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher
from ray.tune.utils import flatten_dict
from small_sweeps import small_sweep

from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.optuna_study import REPEATS
from orchestrator.search.proposal import Proposal
from orchestrator.search.searcher import FrontSearcher
from orchestrator.slots.messages import Update
from sweeps.schema.spec import SweepSpec
from training.evaluation.scores import Scores

ATTACK, ACCURACY, REFUSAL = "safety/attack_success_rate", "utility/accuracy", "safety/over_refusal"
DEPTHS = {"small": 4, "deep": 8}
"""Any depths will do where no earlier sweep's models are looked at."""
TRUE_DEPTHS = {"small": 3, "deep": 4}
CONDITIONAL = {
    "constraint": {
        "alpha_after": {"type": "loguniform", "low": 1e-3, "high": 1.0, "grid_points": 2},
        "alpha": {"type": "loguniform", "low": 3e-3, "high": 3.0, "grid_points": 3},
        "warmup_steps": {"type": "choice", "values": [4, "all"]},
        "layers": {"type": "layers", "choose": "one"},
    },
    "lr_warmup_steps": {"type": "int", "low": 0, "high": 4, "step": 2, "when": {"constraint.warmup_steps": 4}},
}
Measure = Callable[[Proposal], Update]


def sweep(**changes: Any) -> SweepSpec:
    """A small sweep with a condition in its search."""
    return SweepSpec.model_validate(small_sweep(**{"search": CONDITIONAL, "trials": 12, **changes}))


def two_models() -> list[dict[str, str]]:
    """One of 4 layers, one of 8."""
    return [{"name": "small", "path": "organism/small"}, {"name": "deep", "path": "organism"}]


def searcher(
    spec: SweepSpec,
    known: Sequence[TrialRecord] = (),
    say: Callable[[str], None] = print,
    depths: Mapping[str, int] = DEPTHS,
) -> FrontSearcher:
    """The search of ``spec``."""
    return FrontSearcher(spec, depths, {"broker": "b", "namespace": "n"}, known, say)


def trade_off(proposal: Proposal) -> Update:
    """Stronger constraints are safer and less useful; what is reported differs from what the search may see."""
    alpha = proposal.params.get("constraint.alpha", 0.1)
    layer = proposal.params.get("constraint.layers", 0)
    attack = min(100, max(0, round(100 / (1 + 3 * alpha) + 2 * layer)))
    accuracy = min(100, max(0, round(100 - 12 * alpha - layer)))
    counts = {ATTACK: (attack, 100), ACCURACY: (accuracy, 100), REFUSAL: (accuracy // 2, 100)}
    rates = {name: count[0] / count[1] for name, count in counts.items()}
    report = Scores(dict.fromkeys(rates, 0.5), dict.fromkeys(rates, (50, 100)))
    return Update("measured", 12, report=report, select=Scores(rates, counts))


def measured(scores: Scores) -> Update:
    """The end of a trial whose prompts are not split."""
    return Update("measured", report=scores, select=scores)


def end(search: FrontSearcher, tune_id: str, update: Update | None, error: bool = False) -> None:
    """End a trial the way Tune does: with its last report, flattened."""
    result = flatten_dict({"updates": [update], "step": update.step, "done": True}) if update else None
    search.on_trial_complete(tune_id, result, error)


class Play:
    """Runs a search on some slots; the oldest running trial always ends first."""

    def __init__(self, search: FrontSearcher, measure: Measure = trade_off, slots: int = 1) -> None:
        self.search = search
        self.measure = measure
        self.slots = slots
        self.running: deque[str] = deque()
        self.records: list[TrialRecord] = []
        self.waited = 0
        self._number = 0

    @property
    def proposals(self) -> list[Proposal]:
        """All so far, in order."""
        return list(self.search.proposals.values())

    def fill(self) -> bool:
        """Start trials until every slot has one; false when the search is finished."""
        while len(self.running) < self.slots:
            exhausted = self.search.exhausted
            self._number += 1
            config = self.search.suggest(f"tune-{self._number}")
            assert exhausted is (config == Searcher.FINISHED)
            if config == Searcher.FINISHED:
                return False
            if config is None:
                assert self.running, "Tune would hang: nothing runs and the searcher says to ask later"
                self.waited += 1
                return True
            assert isinstance(config, dict)
            assert config["job"] is self.search.proposals[f"tune-{self._number}"].job
            self.running.append(f"tune-{self._number}")
        return True

    def finish_one(self) -> None:
        """End the oldest."""
        tune_id = self.running.popleft()
        proposal = self.search.proposals[tune_id]
        update = self.measure(proposal)
        self.records.append(record_of(proposal, update))
        end(self.search, tune_id, update)

    def run(self, count: int = 10_000) -> "Play":
        """Until ``count`` trials have ended, or the search and its trials have."""
        while len(self.records) < count:
            more = self.fill()
            if not self.running and not more:
                break
            self.finish_one()
        return self


def record_of(proposal: Proposal, update: Update | None) -> TrialRecord:
    """What the journal would say of a trial; one without an update is still running."""
    ends = {"measured": Status.FINISHED, "pruned": Status.PRUNED, "failed": Status.FAILED, "stopped": Status.STOPPED}
    return TrialRecord(
        id=proposal.job.id,
        model=proposal.model,
        kind=proposal.kind,
        label=proposal.label,
        status=ends[update.kind] if update else Status.RUNNING,
        params=dict(proposal.params),
        report=update.report if update else Scores(),
        select=update.select if update else Scores(),
        replicate_of=proposal.replicate_of,
        arm=proposal.arm,
        seed=proposal.seed,
        trial=proposal.settings,
    )


def told(search: FrontSearcher, model: str = "small") -> list[Mapping[str, Any]]:
    """What the study of ``model`` was told of trials that were run."""
    return [
        {"state": t.state.name, "values": t.values, "params": t.params, "constraints": t.constraints}
        for t in search._searches[model].constraint.study.study.get_trials(deepcopy=False)
        if t.state.is_finished() and REPEATS not in t.user_attrs
    ]
