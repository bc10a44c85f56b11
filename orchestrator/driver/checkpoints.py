"""Which trials' checkpoints stay on disk: those that somebody may still want."""

from collections.abc import Callable, Iterable, Sequence

from orchestrator.front.membership import members, probabilities, standings
from orchestrator.front.pooling import mean_metrics
from orchestrator.record.events import Event
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.goals.replicates import OVER_SEEDS, UNLIKELY
from sweeps.schema.keep import KeepConfig
from sweeps.schema.spec import SweepSpec

SURELY_OFF = UNLIKELY / 5
"""A trial goes when it is on the front with no more than this probability: what is deleted cannot come back, while a
probability rises again when what beat the trial turns out to have been lucky."""


def superfluous(
    trials: Iterable[TrialRecord],
    objectives: Sequence[Objective],
    rules: Sequence[FeasibilityRule],
    keep: KeepConfig,
    *,
    replicates: bool = False,
) -> list[str]:
    """Ids of ended trials whose checkpoints nobody needs.

    A trial that was stopped keeps its own, since it goes on from there when the sweep is resumed. With ``keep`` at
    ``front`` those stay that are on the front or may belong there, by the function that builds the front, or that are
    on the front of the report prompts; and with each its replicates. Where no trial keeps the rules, they are left out,
    since our advice is then to loosen them. Where nothing is known of the error of an objective only the fronts stay.

    Args:
        trials: of all models, references and replicates included.
        objectives: what the front trades off.
        rules: bounds that a trial must keep.
        keep: what the specification asks for.
        replicates: whether trials near the front are still to be repeated, which may show that a seed was lucky. What
            another seed can change is then allowed for, and where no error is known all that have finished stay.
    """
    listed = list(trials)
    ended = [record for record in listed if record.kept]
    if keep.checkpoints == "all":
        wanted = {record.id for record in ended if record.status is Status.FINISHED}
    elif keep.checkpoints == "none":
        wanted = set()
    else:
        wanted = set[str]()
        for model in dict.fromkeys(record.model for record in ended):
            wanted |= _near_the_front([r for r in listed if r.model == model], objectives, rules, replicates)
    trained = {record.id: record.trained for record in listed}
    wanted = {trained[one] for one in wanted}  # a scaled model needs the weights that it is made of
    return [record.id for record in ended if record.trained not in wanted]


def _near_the_front(
    trials: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    rules: Sequence[FeasibilityRule],
    replicates: bool,
) -> set[str]:
    found = standings(objectives, rules, trials)
    if not any(one.feasible for one in found):
        rules = ()
        found = standings(objectives, rules, trials)
    found = [one for one in found if one.feasible is not None]
    probability = probabilities(objectives, rules, found, OVER_SEEDS if replicates else 0.0)
    unknown = 1.0 if replicates else 0.0
    reported = members(
        objectives, rules, [mean_metrics([s.report.metrics for s in one.seeds.finished]) for one in found]
    )
    wanted = [
        one.seeds
        for one, on_report in zip(found, reported, strict=True)
        if one.on_front
        or on_report.on_front
        or probability.get(one.record.id, unknown) > SURELY_OFF
        or any(not other.kept for other in one.seeds.others)
    ]
    return {seed.id for seeds in wanted for seed in seeds.finished}


MORE = 0.1
"""Share of the trials that must be new before all are compared again, so that a thousand trials take seconds in all."""


class Keeper:
    """Removes checkpoints as soon as nobody needs them; a listener of the journal.

    Args:
        remove: lets go of those of a trial, by its id.
        spec: objectives, rules, and what is to be kept.
        state: what the journal tells.
        remove_forks: lets go of a trial's fork points, by its id.
    """

    def __init__(
        self,
        remove: Callable[[str], None],
        spec: SweepSpec,
        state: SweepState,
        remove_forks: Callable[[str], None] = lambda _trial: None,
    ) -> None:
        self._let_go = remove
        self._let_forks_go = remove_forks
        self._spec = spec
        self._state = state
        self._without_forks: set[str] = set()
        """Models of which no trial can begin from another any more."""
        self._left_out: set[str] = set()
        """Trials that are surely off the front, which need not be compared again."""
        self._unseen = len(state.trials)

    def on_event(self, event: Event) -> None:
        """Hear of one event, which the state has taken in."""
        if event["event"] in ("trial_started", "trial_ended"):
            self._look_at_forks(self._state.trials[event["id"]].model)
        if event["event"] != "trial_ended":
            return
        self._unseen += 1
        ended = self._state.trials[event["id"]]
        if ended.kept and ended.status is not Status.FINISHED:
            self._let_go(ended.id)
        elif self._unseen >= MORE * (len(self._state.trials) - len(self._left_out)):  # many draws each time
            self._remove(replicates=self._spec.seeds.replicates_on_front > 0)

    def settle(self) -> None:
        """Everything has ended, replicates too: what only they could have brought to the front is let go."""
        self._remove(replicates=False)
        for trial in self._state.listed():
            self._let_forks_go(trial.id)

    def _look_at_forks(self, model: str) -> None:
        """Let go of fork points once every searched trial has begun, and none that began from them is under way.

        One under way may lose its slot, and begins there again.
        """
        if len(self._state.trials) < self._spec.trials or model in self._without_forks:
            return
        own = [one for one in self._state.listed() if one.model == model and one.started["kind"] == "trial"]
        under_way = {one.id for one in self._state.under_way}
        begun = [one for one in own if one.kept or one.id in under_way]
        if len(begun) >= self._spec.trials and not any(
            one.id in under_way and "forked_from" in one.started for one in own
        ):
            self._without_forks.add(model)
            for one in own:
                self._let_forks_go(one.id)

    def _remove(self, replicates: bool) -> None:
        self._unseen = 0
        spec = self._spec
        compared = [record for record in self._state.records() if record.id not in self._left_out]
        repeated = {record.replicate_of for record in compared}
        single = {record.id for record in compared if record.kind != "replicate" and record.id not in repeated}
        for trial in superfluous(compared, spec.objectives, spec.feasible, spec.keep, replicates=replicates):
            self._let_go(trial)  # of scaled models there is nothing
            if trial in single:  # without it others are rather kept than not
                self._left_out.add(trial)
