"""Which samples each optimizer step trains on: a pure function of the seed, so every rank and every resume agrees."""

from dataclasses import dataclass

import numpy as np

from training.config.sharing import WINDOW
from training.data.samples import Integers
from training.errors import DataError

PLAN = 2
"""Version of the plan: raise it when the same settings give other batches, so that no training goes on by another plan
than it began with."""


def _epochs(count: int, needed: int, generator: np.random.Generator) -> Integers:
    """``needed`` of ``count`` indices: shuffled passes over all of them, one after another."""
    if needed == 0:
        return np.empty(0, np.int64)
    passes = [generator.permutation(count) for _ in range(-(-needed // count))]
    return np.concatenate(passes)[:needed].astype(np.int64)


def safety_per_step(wanted: int, steps: int) -> Integers:
    """``[steps]`` safety samples of each step: ``wanted`` in all, a step's share rounded down or up, spread evenly."""
    return np.diff(np.arange(steps + 1) * wanted // steps)


def mix(
    task: int, safety: int, share: float, steps: int, batch_size: int, seed: int, count: int | None = None
) -> tuple[Integers, Integers]:
    """The samples that are seen, in random order; safety samples are numbered after the ``task`` task samples.

    Args:
        task: number of task samples.
        safety: number of safety samples.
        share: share of all samples seen, repeats counted, that are safety samples.
        steps: optimizer steps.
        batch_size: samples per optimizer step over all ranks.
        seed: of the shuffles.
        count: instead of a share, the distinct safety samples that join the task samples, as if both were one data set
            (the paper adds 1,000); drawn by the seed.

    Returns:
        ``[steps * batch_size]`` indices, each source in shuffled passes, those of a step together and its safety
        samples last; and ``[steps]`` how many these are.

    Raises:
        DataError: samples are asked of an empty source.
    """
    if count is not None and count > safety:
        raise DataError(
            f"safety_count ({count}) asks for more safety samples than data.safety has to train on ({safety}): "
            f"lower it to {safety} at most, or add samples"
        )
    total = steps * batch_size
    wanted = round(total * (share if count is None else count / max(1, task + count)))
    if task == 0 and wanted < total:
        raise DataError("data.task has no training samples; give it some")
    if safety == 0 and wanted:
        raise DataError(f"safety_share ({share}) asks for safety samples, but data.safety has none; set it to 0")
    # Independent streams: the task samples and their order do not change with the share of safety samples.
    task_stream, safety_stream = (np.random.default_rng([seed, stream]) for stream in range(2))
    quotas = safety_per_step(wanted, steps)
    is_safety = np.tile(np.arange(batch_size), steps) >= np.repeat(batch_size - quotas, batch_size)
    order = np.empty(total, np.int64)
    order[~is_safety] = _epochs(task, total - wanted, task_stream)
    drawn = safety_stream.permutation(safety)[:count] if count is not None else np.arange(safety)
    order[is_safety] = task + drawn[_epochs(len(drawn), wanted, safety_stream)]
    return order, quotas


def balance(order: Integers, quotas: Integers, lengths: Integers, batch_size: int, seed: int) -> Integers:
    """Global batches of nearly equal numbers of tokens, in each of which similar lengths stand together.

    A batch takes the longest and the shortest samples that its window still has, as many of both as give it its share
    of the window's tokens. Full batches of similar length would pad least of all, but then a step on short samples
    would count for as much as one on many times their tokens; a random draw would pad every batch to a long sample.

    Args:
        order: what :func:`mix` gives.
        quotas: ``[steps]`` safety samples of each step.
        lengths: ``[samples]`` tokens per sample.
        batch_size: samples per optimizer step over all ranks.
        seed: of the shuffle of the batches within a window.

    Returns:
        ``[steps, batch_size]``; within a step sorted by length.
    """
    generator = np.random.default_rng([seed, 3])
    rows = order.reshape(-1, batch_size)
    steps = np.empty_like(rows)
    for start in range(0, len(rows), WINDOW):
        window, safety = rows[start : start + WINDOW], quotas[start : start + WINDOW]
        is_safety = np.arange(batch_size) >= (batch_size - safety)[:, None]
        task_left, safety_left = (_Sorted(window[chosen], lengths) for chosen in (~is_safety, is_safety))
        places = generator.permutation(len(window))
        for done, place in enumerate(places):
            share = (task_left.tokens + safety_left.tokens) // (len(places) - done)
            # The longest safety samples go where the longest task samples are.
            own = safety_left.take(int(safety[place]), None)
            others = task_left.take(batch_size - int(safety[place]), share - int(lengths[own].sum()))
            batch = np.concatenate([others, own])
            steps[start + place] = batch[np.argsort(lengths[batch], kind="stable")]
    return steps


class _Sorted:
    """Samples that are taken from both ends of their order by length."""

    def __init__(self, samples: Integers, lengths: Integers) -> None:
        self._samples = samples[np.argsort(-lengths[samples], kind="stable")]
        self._sums = np.concatenate([[0], np.cumsum(lengths[self._samples])])

    @property
    def tokens(self) -> int:
        """Of those that are left."""
        return int(self._sums[-1] - self._sums[0])

    def take(self, size: int, tokens: int | None) -> Integers:
        """Remove ``size`` samples, of each end as many as come nearest to ``tokens``; None takes the longest."""
        longest = np.arange(size + 1)
        found = self._sums[longest] - self._sums[0] + self._sums[-1] - self._sums[len(self._sums) - 1 - size + longest]
        first = size if tokens is None else int(np.argmin(np.abs(found - tokens)))
        end = len(self._samples) - (size - first)
        taken = np.concatenate([self._samples[:first], self._samples[end:]])
        self._samples, self._sums = self._samples[first:end], self._sums[first : end + 1]
        return taken


@dataclass(frozen=True)
class BatchPlan:
    """The samples of every optimizer step."""

    steps: Integers
    """``[steps, batch_size]`` indices of samples."""

    @classmethod
    def make(
        cls,
        *,
        task: int,
        safety: int,
        share: float,
        lengths: Integers,
        steps: int,
        batch_size: int,
        seed: int,
        count: int | None = None,
    ) -> "BatchPlan":
        """Mix the two sources and balance the batches; see :func:`mix` and :func:`balance`."""
        order, quotas = mix(task, safety, share, steps, batch_size, seed, count)
        return cls(balance(order, quotas, lengths, batch_size, seed))

    def micro_batches(self, step: int, rank: int, world_size: int, micro_batch_size: int) -> list[Integers]:
        """The samples of ``rank`` in optimizer step ``step``, one entry per forward pass.

        Ranks take every ``world_size``-th sample of the length-sorted batch, so that they do similar work.
        """
        mine = self.steps[step][rank::world_size]
        return [mine[start : start + micro_batch_size] for start in range(0, len(mine), micro_batch_size)]
