"""Repetitions of the trials near the front: which trial comes next, and under which training seed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from orchestrator.membership import candidate, standings
from orchestrator.proposal import Proposal
from orchestrator.records import TrialRecord
from sweeps.replicates import next_replicate
from sweeps.spec import SweepSpec


@dataclass(frozen=True)
class Repetition:
    """A trial to repeat."""

    trial: TrialRecord
    seed: int
    """Training seed that it has not been run with."""

    @property
    def id(self) -> str:
        """Id of the repetition."""
        return f"{self.trial.id}-r{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """The trial's whole configuration under the new seed."""
        return {**(self.trial.trial or {}), "seed": self.seed}


def next_repetition(
    spec: SweepSpec, ended: Mapping[str, TrialRecord], running: Iterable[Proposal]
) -> Repetition | None:
    """What to repeat next; none when the front's membership is settled or no trial near it lacks seeds.

    Args:
        spec: the sweep.
        ended: everything of one model that ended, by id.
        running: what of the same model has not.
    """
    seeds: dict[str, set[int]] = {}
    for record in ended.values():
        if record.kind == "reference" or record.trial is None:
            continue
        origin = record.replicate_of or record.id
        seeds.setdefault(origin, set()).add(record.trial["seed"])
    for proposal in running:
        if proposal.replicate_of is not None and proposal.seed is not None:
            seeds.setdefault(proposal.replicate_of, set()).add(proposal.seed)
    finished = [one for one in standings(spec.objectives, spec.feasible, ended.values()) if one.feasible is not None]
    able = [candidate(spec.objectives, spec.feasible, one) for one in finished if one.record.id in seeds]
    rows = [replace(one, seeds=len(seeds[one.id])) for one in able]  # those under way too
    goals = [objective.goal for objective in spec.objectives]
    wanted = next_replicate(rows, goals, spec.seeds.replicates_on_front)
    if wanted is None:
        return None
    unused = (seed for seed in count(min(seeds[wanted])) if seed not in seeds[wanted])
    return Repetition(ended[wanted], next(unused))
