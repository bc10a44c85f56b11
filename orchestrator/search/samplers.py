"""Optuna's samplers and distributions for a search space, and the samplers that are lists of points."""

import math
import warnings

import numpy as np
import optuna

from sweeps.schema.search import SearcherConfig
from sweeps.space.dimensions import CategoricalDimension, Dimension, Drawn, FloatDimension
from sweeps.space.space import SearchSpace

GENERATION = f"{optuna.samplers.NSGAIISampler.__name__}:generation"
"""Where Optuna keeps the generation of a trial; one that is added from outside has none, and would not be a parent."""

CANDIDATES = 128
"""Points that TPE draws and ranks for one proposal: Optuna's 24 is few for a joint density over several fields. On the
recorded factorial, which has four, neither was better than the other beyond chance."""


def create_sampler(config: SearcherConfig, model: int = 0, known: int = 0) -> optuna.samplers.BaseSampler:
    """The sampler that ``config`` names; of grid and qmc, whose points are given, one that draws nothing.

    Fields under conditions: TPE models each combination of drawn fields; the Gaussian process and NSGA-II draw at
    random the fields that not every trial has.

    Args:
        config: the sweep's searcher.
        model: which model of the sweep; what one has drawn need not be drawn again by the next.
        known: trials known from a journal; a continued search must not repeat its first draws.
    """
    seed = config.seed
    if model or known:
        seed = int(np.random.SeedSequence([config.seed, model, known]).generate_state(1)[0])
    if config.sampler == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=config.startup_trials,
                n_ei_candidates=CANDIDATES,
                multivariate=True,
                group=True,
                constant_liar=True,  # trials run side by side: keep the second away from what the first is trying
            )
    if config.sampler == "gp":
        return optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=config.startup_trials, warn_independent_sampling=False
        )
    if config.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=config.startup_trials)
    return optuna.samplers.RandomSampler(seed=seed)


def given_points(config: SearcherConfig, space: SearchSpace, count: int) -> list[dict[str, object]] | None:
    """The first ``count`` proposals of a sampler that fixes them beforehand; None for all others.

    Args:
        config: the sweep's searcher.
        space: of one model.
        count: proposals wanted; a grid has no more than its combinations, which come in an order drawn by the seed, so
            that a part of the grid is spread over all of it.
    """
    if config.sampler == "grid":
        points = list(space.grid())
        order = np.random.default_rng(config.seed).permutation(len(points))
        return [points[index] for index in order[:count]]
    if config.sampler == "qmc":
        from scipy.stats import qmc

        axes = len(space.dimensions())
        if not axes:
            return [space.at(()) for _ in range(count)]
        cube = qmc.Sobol(axes, scramble=True, seed=config.seed).random_base2(math.ceil(math.log2(max(count, 2))))
        return [space.at(row.tolist()) for row in cube[:count]]
    return None


def distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """Optuna's form of ``dimension``."""
    if isinstance(dimension, FloatDimension):
        return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, CategoricalDimension):
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    return optuna.distributions.IntDistribution(dimension.low, dimension.high, step=dimension.step)


def suggest(trial: optuna.trial.Trial, name: str, dimension: Dimension) -> Drawn:
    """What the study's sampler draws for one dimension of ``trial``."""
    if isinstance(dimension, FloatDimension):
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, CategoricalDimension):
        return str(trial.suggest_categorical(name, dimension.choices))
    return trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step)
