"""Draws of rates that several models may have, given their answers to the same prompts: the paired Bayesian bootstrap.

Rubin (1981): every prompt gets a random weight, the same for all models, and a rate is the weighted share of prompts
that show the event. Two prompts more of half a weight each, one with and one without the event, make the draws of a
single model those of its Jeffreys posterior, Beta(successes + 1/2, failures + 1/2), also at 0 % and at 100 %; these two
are each model's own, so that two models that always agreed on few prompts are not held to be the same for ever.
"""

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.statistics.bootstrap import as_outcomes

Array = NDArray[np.float64]
DRAWS = 2000


class PairedDraws:
    """Draws rates of any number of models; what the same prompts and training seeds bring is common to all of them.

    Args:
        draws: of each rate.
        seed: of the draws.
    """

    def __init__(self, draws: int = DRAWS, seed: int = 0) -> None:
        self.draws = draws
        self._seed = seed
        self._prompts: dict[Hashable, NDArray[np.float32]] = {}

    def generator(self, *names: Hashable) -> np.random.Generator:
        """A source of luck that is the same wherever the same ``names`` ask for it."""
        digest = hashlib.blake2b(repr(names).encode("utf-8", "backslashreplace"), digest_size=8).digest()
        return np.random.default_rng([self._seed, int.from_bytes(digest)])

    def rate(self, outcomes: ArrayLike, prompts: Sequence[Hashable], seeds: Sequence[Hashable], own: Hashable) -> Array:
        """``[draws]`` rates that the model may have over all prompts and training seeds.

        The seeds' weights have the variance of the classical bootstrap over seeds, which understates the spread of a
        few by the factor sqrt(1 - 1/seeds).

        Args:
            outcomes: ``[seeds, prompts]`` of 0 and 1.
            prompts: what tells each prompt from others, across models.
            seeds: what tells each training seed from others, across models.
            own: what tells this rate of this model from all others.

        Raises:
            ValueError: the outcomes are empty, hold something else, or are not as many as prompts and seeds.
        """
        table = as_outcomes(outcomes, "outcomes")
        if table.shape != (len(seeds), len(prompts)):
            raise ValueError(f"outcomes {table.shape} must have a row a seed ({len(seeds)}) and a column a prompt")
        weights = np.stack([self._weights(prompt) for prompt in prompts])  # [prompts, draws]
        shown = table @ weights  # [seeds, draws]
        share = self._seed_weights(seeds)
        luck = self.generator("own", own).gamma(0.5, size=(2, self.draws))
        found: Array = ((share * shown).sum(axis=0) + luck[0]) / (weights.sum(axis=0, dtype=np.float64) + luck.sum(0))
        return found

    def _weights(self, prompt: Hashable) -> NDArray[np.float32]:
        if prompt not in self._prompts:
            drawn = self.generator("prompt", prompt).standard_exponential(self.draws)
            self._prompts[prompt] = drawn.astype(np.float32)
        return self._prompts[prompt]

    def _seed_weights(self, seeds: Sequence[Hashable]) -> Array:
        """``[seeds, draws]``, of sum 1."""
        count = len(seeds)
        if count == 1:
            return np.ones((1, self.draws))
        shape = (count - 1) / count
        drawn = np.stack([self.generator("seed", count, seed).gamma(shape, size=self.draws) for seed in seeds])
        weights: Array = drawn / drawn.sum(axis=0)
        return weights
