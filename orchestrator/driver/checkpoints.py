"""Which trials' checkpoints stay on disk: those that somebody may still want."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.front.membership import members, probabilities, standings
from orchestrator.front.pooling import mean_metrics
from orchestrator.record.journal import Event, records
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
    return [record.id for record in ended if record.id not in wanted]


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
        directory: holds one folder a trial.
        spec: objectives, rules, and what is to be kept.
        known: trials of earlier drivers.
    """

    def __init__(self, directory: Path, spec: SweepSpec, known: Iterable[TrialRecord]) -> None:
        self._directory = directory
        self._spec = spec
        self._events: dict[str, Event] = {}
        self._records = {record.id: record for record in known}
        self._unseen = len(self._records)

    def on_event(self, event: Event) -> None:
        """Take in one event of the journal."""
        if event["event"] == "trial_started":
            self._events[event["id"]] = event
            self._records[event["id"]] = records([event])[0]
        elif event["event"] == "trial_ended":
            record = records([self._events.pop(event["id"]), event])[0]
            self._records[record.id] = record
            self._unseen += 1
            if record.kept and record.status is not Status.FINISHED:
                shutil.rmtree(self._directory / record.id, ignore_errors=True)
            elif self._unseen >= MORE * len(self._records):  # many draws each time: a little later is soon enough
                self._remove(replicates=self._spec.seeds.replicates_on_front > 0)

    def settle(self) -> None:
        """Everything has ended, replicates too: what only they could have brought to the front is let go."""
        self._remove(replicates=False)

    def _remove(self, replicates: bool) -> None:
        self._unseen = 0
        spec = self._spec
        listed = self._records.values()
        for trial in superfluous(listed, spec.objectives, spec.feasible, spec.keep, replicates=replicates):
            shutil.rmtree(self._directory / trial, ignore_errors=True)
            # What is surely off the front need not be compared again; without it others are rather kept than not.
            self._forget(trial)

    def _forget(self, trial: str) -> None:
        record = self._records[trial]
        repeated = any(other.replicate_of == trial for other in self._records.values())
        if record.kind != "replicate" and not repeated:
            del self._records[trial]
