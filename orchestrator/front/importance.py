"""Which searched settings decided how good the trials became: PED-ANOVA over the finished trials of one model."""

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.front.schema.explanations import Importance, SettingImportance
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import Objective
from sweeps.space.ranges import Choice, Integer, LogUniform, Range, Uniform
from sweeps.statistics.pareto import ranks

if TYPE_CHECKING:
    import optuna

Costs = NDArray[np.float64]

FRONT = "front"
"""Target of the importance for reaching the front, without preference for an objective."""
RELIABLE_TRIALS = 30
"""Below this many finished trials the figures are called unreliable."""
LEAST_TRIALS = 6
"""Below this many there are no figures."""
TOP_TRIALS = 10
"""PED-ANOVA compares so many of the best trials with all of them: its authors want at least five (2304.10255)."""
SHUFFLES = 60
FEWER_SHUFFLES = 20
"""With more than ``MANY_TRIALS`` trials, where each takes a tenth of a second and chance gives little anyway."""
MANY_TRIALS = 300

_BAND = re.compile(r"^(\d+)-(\d+)$")
LEAST_SCALE = 6
"""Real numbers with fewer different values are taken for choices where nothing is known of their range."""


def importance(
    objectives: Sequence[Objective], trials: Sequence[TrialRecord], ranges: Mapping[str, Range] | None = None
) -> Importance:
    """How much each searched setting decides whether a trial is among the best.

    Conditional PED-ANOVA (arXiv 2304.10255, 2601.20800) as Optuna implements it, for every objective and, where there
    are several, for reaching the front. Since an irrelevant setting gets some importance by chance too, the results
    are shuffled among the trials many times, and ``p_value`` is how often chance gives at least as much.

    Args:
        objectives: what the front trades off.
        trials: searched trials of one model; only FINISHED ones with every objective count.
        ranges: what was searched, by dotted path; None guesses scales from the values.

    Returns:
        its ``targets`` are empty with fewer than ``LEAST_TRIALS`` trials.
    """
    metrics = [objective.metric for objective in objectives]
    finished = [
        trial
        for trial in trials
        if trial.status is Status.FINISHED
        and all(math.isfinite(trial.report.metrics.get(m, math.nan)) for m in metrics)
    ]
    reliable = len(finished) >= RELIABLE_TRIALS
    settings = [_settings(trial.params) for trial in finished]
    distributions = _distributions(settings, ranges or {})
    if len(finished) < LEAST_TRIALS or not distributions:
        return Importance(n=len(finished), reliable=reliable, targets={})
    costs = np.array(
        [[t.report.metrics[o.metric] * (1 if o.goal == "minimize" else -1) for o in objectives] for t in finished]
    )
    targets = {objective.metric: costs[:, index] for index, objective in enumerate(objectives)}
    if len(objectives) > 1:
        targets[FRONT] = ranks(costs, ["minimize"] * len(objectives)).astype(np.float64)
    with _quiet():
        study = _study(settings, distributions)
        shares = {
            name: _shares(study, list(distributions), values)
            for name, values in targets.items()
            if not (values == values[0]).all()  # where every trial is alike nothing decided
        }
    return Importance(n=len(finished), reliable=reliable, targets=shares)


def _shares(study: "optuna.Study", names: Sequence[str], costs: Costs) -> tuple[SettingImportance, ...]:
    measured = _ped_anova(study, names, costs)
    generator = np.random.default_rng(0)
    shuffles = SHUFFLES if len(costs) <= MANY_TRIALS else FEWER_SHUFFLES
    chance = [_ped_anova(study, names, generator.permutation(costs)) for _ in range(shuffles)]
    total = sum(measured.values())
    rows = [
        SettingImportance(
            param=name,
            importance=value / total if total else 0.0,
            p_value=(1 + sum(draw[name] >= value for draw in chance)) / (1 + shuffles),
        )
        for name, value in measured.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.importance))


def _study(settings: Sequence[Mapping[str, Any]], distributions: Mapping[str, Any]) -> "optuna.Study":
    """The trials as Optuna keeps them; their values come from elsewhere, so that they can be shuffled."""
    import optuna

    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(values), distributions={name: distributions[name] for name in values}, value=0.0
            )
            for values in settings
        ]
    )
    return study


def _ped_anova(study: "optuna.Study", names: Sequence[str], costs: Costs) -> dict[str, float]:
    """Importance of every setting for low ``costs`` ``[trials]``, not normalised."""
    import optuna

    quantile = min(0.5, max(0.1, TOP_TRIALS / len(costs)))
    found = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile),
        params=list(names),
        target=lambda trial: float(costs[trial.number]),
        normalize=False,
    )
    return {name: float(found.get(name, 0.0)) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its word on every study, and without warnings of few trials, which the report words itself."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` flat: a band of layers becomes its two ends, a set of layers a switch for every layer in it."""
    found: dict[str, Any] = {}
    for path, value in params.items():
        band = _BAND.match(value) if isinstance(value, str) else None
        if band:
            found |= {f"{path}.first": int(band[1]), f"{path}.last": int(band[2])}
        else:
            found[path] = value
    return found


def _distributions(settings: list[dict[str, Any]], ranges: Mapping[str, Range]) -> dict[str, Any]:
    """A distribution for every setting that varies; values that have no order become JSON text in ``settings``."""
    import optuna

    found: dict[str, Any] = {}
    for path in list(dict.fromkeys(name for values in settings for name in values)):
        seen = [values[path] for values in settings if path in values]
        if len({_text(value) for value in seen}) < 2:
            for values in settings:
                values.pop(path, None)
            continue
        searched = ranges.get(path)
        if _ordered(seen, searched):
            low, high = min(seen), max(seen)
            if isinstance(searched, Uniform | LogUniform | Integer):  # an extended sweep may have left it
                low, high = min(low, searched.low), max(high, searched.high)
            if all(isinstance(value, int) for value in seen):
                found[path] = optuna.distributions.IntDistribution(int(low), int(high))
            else:
                log = isinstance(searched, LogUniform) or (searched is None and _looks_logarithmic(seen))
                found[path] = optuna.distributions.FloatDistribution(float(low), float(high), log=log)
            continue
        for values in settings:
            if path in values:
                values[path] = _text(values[path])
        found[path] = optuna.distributions.CategoricalDistribution(sorted({_text(value) for value in seen}))
    return found


def _ordered(seen: Sequence[Any], searched: Range | None) -> bool:
    """Whether the values are numbers on a scale rather than a few choices."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in seen):
        return False
    whole = all(isinstance(value, int) for value in seen)
    return not isinstance(searched, Choice) and (whole or searched is not None or len(set(seen)) >= LEAST_SCALE)


def _looks_logarithmic(seen: Sequence[float]) -> bool:
    """Whether positive values lie more evenly around the middle on a log scale than on a linear one."""
    values = np.array(seen, dtype=np.float64)
    if values.min() <= 0:
        return False

    def off_centre(at: Costs) -> float:
        return float(abs((at.mean() - at.min()) / (at.max() - at.min()) - 0.5))

    return off_centre(np.log(values)) < off_centre(values)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
