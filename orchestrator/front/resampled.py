"""Draws of what trials and references may truly score, paired by prompt: for probabilities and intervals (pure)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.front.outcomes import Outcomes, Prompt
from orchestrator.front.pooling import Answers, common_prompts, outcome_table, outcomes_by_seed
from orchestrator.record.trials import TrialRecord
from sweeps.goals.replicates import Estimate, estimate_over_seeds
from sweeps.statistics.posterior import PairedDraws

Array = NDArray[np.float64]


class Resampled:
    """Draws of the metrics of trials and references on the report prompts.

    Args:
        answers: rows by trial id; what has none is drawn by its counts or its error, not paired with anything.
        draws: where the luck comes from; sweeps that share it share the luck of prompts that they share.
        only: by metric, the prompts to which a rate is restricted; None takes all.
        name: tells the trials of this sweep from those of another that are called alike.
    """

    def __init__(
        self,
        answers: Answers,
        draws: PairedDraws | None = None,
        only: Mapping[str, Sequence[Prompt]] | None = None,
        name: str = "",
    ) -> None:
        self._answers, self._name = answers, name
        self._source = draws or PairedDraws()
        self._only = only
        self._outcomes: dict[tuple[str, str], list[Outcomes] | None] = {}
        self._found: dict[tuple[str, str], Array | None] = {}

    @property
    def count(self) -> int:
        """Draws of each metric."""
        return self._source.draws

    def draws(self, seeds: Sequence[TrialRecord], metric: str) -> Array | None:
        """``[draws]`` values of ``metric`` that a model may have, given all its training ``seeds``.

        None where nothing is known of the error.
        """
        if not seeds:
            return None
        key = (seeds[0].id, metric)
        if key not in self._found:
            self._found[key] = self._drawn(seeds, metric)
        return self._found[key]

    def outcomes(self, seeds: Sequence[TrialRecord], metric: str) -> list[Outcomes] | None:
        """What every report prompt says of the rate ``metric``, a seed after the other; None where one is not known."""
        key = (seeds[0].id, metric)
        if key not in self._outcomes:
            self._outcomes[key] = outcomes_by_seed(seeds, metric, self._answers)
        return self._outcomes[key]

    def value(self, seeds: Sequence[TrialRecord], metric: str) -> float:
        """The mean over seeds, of the prompts that count here; NaN where it was not measured."""
        found = self._table(seeds, metric) if self._only is not None and metric in self._only else None
        if found is not None:
            return float(found[0].mean())
        values = [seed.report.metrics.get(metric, math.nan) for seed in seeds]
        return float(np.mean(values)) if values else math.nan

    def _table(self, seeds: Sequence[TrialRecord], metric: str) -> tuple[Array, list[Prompt]] | None:
        by_seed = self.outcomes(seeds, metric)
        prompts = common_prompts(by_seed) if by_seed else []
        if self._only is not None and metric in self._only:
            wanted = set(self._only[metric])
            prompts = [prompt for prompt in prompts if prompt in wanted]
        return (outcome_table(by_seed, prompts), prompts) if by_seed and prompts else None

    def known(self, seeds: Sequence[TrialRecord], metric: str) -> tuple[Array, list[Prompt]] | Estimate | None:
        """What ``metric`` is drawn from: ``[seeds, prompts]`` verdicts and their prompts, else counts or an error.

        None where nothing is known of the error.
        """
        found = self._table(seeds, metric)
        if found is not None:
            return found
        estimate = estimate_over_seeds(
            [seed.report.metrics.get(metric, math.nan) for seed in seeds],
            [seed.report.counts.get(metric) for seed in seeds],
            [seed.report.errors.get(metric) for seed in seeds],
        )
        return estimate if estimate.known and not math.isnan(estimate.value) else None

    def _drawn(self, seeds: Sequence[TrialRecord], metric: str) -> Array | None:
        found = self.known(seeds, metric)
        own = (self._name, seeds[0].model, seeds[0].id, metric)
        if found is None:
            return None
        if isinstance(found, Estimate):
            return found.draws(self._source.generator("own", own), self._source.draws)
        table, prompts = found
        return self._source.rate(table, prompts, [_luck_of(seed) for seed in seeds], own)


def _luck_of(seed: TrialRecord) -> tuple[str, object]:
    """Under the same training seed two trials of a model see the same samples in the same order."""
    return seed.model, seed.id if seed.seed is None else seed.seed
