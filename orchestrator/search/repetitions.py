"""Repetitions under other training seeds: of the references, and of the trials near the front."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from orchestrator.front.membership import candidate, standings
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.proposal import Proposal
from sweeps.goals.replicates import next_replicate
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig


@dataclass(frozen=True)
class Repetition:
    """A trial or reference to repeat."""

    trial: TrialRecord
    seed: int
    """Training seed that it has not been run with."""

    @property
    def id(self) -> str:
        """Id of the repetition."""
        return f"{self.trial.id}-r{self.seed}"

    @property
    def settings(self) -> TrialConfig:
        """The trial's whole configuration under the new seed."""
        return TrialConfig.model_validate({**(self.trial.trial or {}), "seed": self.seed})


def next_repetition(
    spec: SweepSpec, ended: Mapping[str, TrialRecord], running: Iterable[Proposal]
) -> Repetition | None:
    """What to repeat next; None when nothing is to be repeated, or not before a running trial has ended.

    Once a trial could be on the front, the trained references are repeated, under the seeds that trials are repeated
    with: a front is compared with them, and one seed of plain fine-tuning is luck as much as one of a trial. The trials
    near the front follow when every searched one has ended, until the front's membership is settled or all have their
    seeds.

    Args:
        spec: the sweep.
        ended: everything of one model that ended, by id.
        running: what of the same model has not.
    """
    if not spec.seeds.replicates_on_front:
        return None
    standing = standings(spec.objectives, spec.feasible, ended.values())
    able = [one for one in standing if one.feasible is not None and one.record.trial is not None]
    if not any(one.feasible for one in able):
        return None
    under_way = list(running)
    seeds = _seeds(ended.values(), under_way)
    for record in ended.values():
        trained = record.kind == "reference" and record.trial is not None and record.status is Status.FINISHED
        if trained and record.scaled_of is None and len(seeds[record.id]) < spec.seeds.replicates_on_front:
            return Repetition(record, _unused(seeds[record.id]))
    if any(proposal.kind == "trial" for proposal in under_way):
        return None
    rows = [
        replace(
            candidate(spec.objectives, spec.feasible, one), seeds=len(seeds[one.record.trained])
        )  # those under way too
        for one in able
    ]
    goals = [objective.goal for objective in spec.objectives]
    wanted = next_replicate(rows, goals, spec.seeds.replicates_on_front)
    if wanted is None:
        return None
    repeated = ended[ended[wanted].trained]  # a scaled model is repeated with the training that it is of
    return Repetition(repeated, _unused(seeds[repeated.id]))


def _seeds(ended: Iterable[TrialRecord], running: Iterable[Proposal]) -> dict[str, set[int]]:
    """Training seeds that each trial and reference was started with, whatever came of it, by its id."""
    found: dict[str, set[int]] = {}
    for record in ended:
        if record.trial is not None and record.scaled_of is None:
            found.setdefault(record.replicate_of or record.id, set()).add(record.trial["seed"])
    for proposal in running:
        if proposal.replicate_of is not None and proposal.seed is not None:
            found.setdefault(proposal.replicate_of, set()).add(proposal.seed)
    return found


def _unused(seeds: Collection[int]) -> int:
    return next(seed for seed in count(min(seeds)) if seed not in seeds)
