"""Rates by a judge that errs, corrected by labels of people: prediction-powered inference.

Angelopoulos, Bates, Fannjiang, Jordan and Zrnic (Science 2023): the mean of a judge's verdicts over all answers, plus
the mean of what it erred by on those that people labelled. PPI++ (Angelopoulos, Duchi and Zrnic, arXiv 2311.01453)
weighs the verdicts by a ``power`` between 0 (labels alone, the classical mean) and 1 (PPI), chosen so that the variance
is least; for a mean that is in closed form. Here the unit is the prompt: answers of several models to one prompt are
drawn together, and the variance is that of the prompts' influence on the estimate (Liang and Zeger 1986).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.statistics.bootstrap import Estimate

Array = NDArray[np.float64]
_DOUBT = 2
"""Labelled prompts more on which the judge errs, one either way: they are in the variance alone. Without them, labels
that all agree with the judge would prove that it never errs; simulated intervals of rare events need both."""


@dataclass(frozen=True)
class Powered(Estimate):
    """A corrected rate with its interval."""

    power: float
    """Weight of the verdicts: 0 rests on the labels alone, 1 on the verdicts as far as the labels correct them."""


def prediction_powered_rate(
    labels: ArrayLike,
    predicted: ArrayLike,
    prompts: Sequence[Hashable],
    verdicts: ArrayLike,
    verdict_prompts: Sequence[Hashable],
    weights: ArrayLike | None = None,
    power: float | None = None,
    confidence: float = 0.95,
) -> Powered:
    """The share of answers that people would label 1, by a judge's verdicts on all of them and labels of some.

    ``power * mean(verdicts) + mean(labels - power * predicted)``, the second mean with ``weights``. The labelled
    answers may be among those of ``verdicts``, or others: what a prompt adds to both means is added up before it is
    squared. The interval is Student's, its degrees of freedom those of the labelled prompts.

    Args:
        labels: ``[labelled]`` between 0 and 1, a mean where several people labelled an answer.
        predicted: ``[labelled]`` verdicts of 0 and 1 on these answers.
        prompts: ``[labelled]``, what tells the prompt of each from others.
        verdicts: ``[answers]`` of 0 and 1, of all answers that the rate is of.
        verdict_prompts: ``[answers]``, their prompts.
        weights: ``[labelled]``, how many answers each labelled one stands for, where some kinds were labelled more
            often than others; None where all were drawn alike.
        power: of the verdicts; None takes the best.
        confidence: two-sided coverage, between 0 and 1.

    Raises:
        ValueError: the lengths differ, a value is out of its range, fewer than two prompts are labelled, or nothing is
            judged.
    """
    truth, told, judged = (np.asarray(values, dtype=np.float64) for values in (labels, predicted, verdicts))
    stands_for = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    _check(truth, told, judged, stands_for, len(prompts), len(verdict_prompts), len(set(prompts)))
    place = {prompt: number for number, prompt in enumerate(dict.fromkeys([*prompts, *verdict_prompts]))}
    labelled = np.array([place[prompt] for prompt in prompts])
    everywhere = np.array([place[prompt] for prompt in verdict_prompts])
    share = stands_for / stands_for.sum()

    def summed(of: NDArray[Any], influence: Array) -> Array:
        found: Array = np.bincount(of, influence, len(place)).astype(np.float64)
        return found

    # What each prompt adds to the estimate is alone + power * through.
    alone = summed(labelled, share * (truth - share @ truth))
    through = summed(everywhere, (judged - judged.mean()) / len(judged))
    through -= summed(labelled, share * (told - share @ told))
    if power is None:
        spread = float(through @ through)
        power = float(np.clip(-(alone @ through) / spread, 0, 1)) if spread > 1e-18 else 0.0
    mean = power * float(judged.mean()) + float(share @ (truth - power * told))
    influence = alone + power * through
    units = len(set(prompts))
    doubt = _DOUBT / units**2
    variance = float(influence @ influence) * units / (units - 1) + doubt
    from scipy.special import stdtrit

    reach = float(stdtrit(units - 1, (1 + confidence) / 2)) * variance**0.5
    return Powered(min(1.0, max(0.0, mean)), max(0.0, mean - reach), min(1.0, mean + reach), power)


def _check(
    truth: Array, told: Array, judged: Array, weights: Array, prompts: int, verdict_prompts: int, units: int
) -> None:
    if not len(truth) == len(told) == len(weights) == prompts or len(judged) != verdict_prompts:
        raise ValueError(
            f"labels ({len(truth)}), predicted ({len(told)}), weights ({len(weights)}) and prompts ({prompts}) must be "
            f"as many, and so must verdicts ({len(judged)}) and verdict_prompts ({verdict_prompts})"
        )
    if not ((truth >= 0) & (truth <= 1)).all() or not np.isin(told, (0, 1)).all() or not np.isin(judged, (0, 1)).all():
        raise ValueError("labels must lie between 0 and 1, predicted and verdicts must be 0 or 1")
    if not (weights > 0).all() or not len(judged):
        raise ValueError("weights must be above 0, and at least one answer must be judged")
    if units < 2:
        raise ValueError(f"labels are of {units} prompts: at least two are needed")
