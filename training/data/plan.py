"""Which samples each optimizer step trains on: a pure function of the seed, so every rank and every resume agrees."""

from dataclasses import dataclass

import numpy as np

from training.data.samples import Integers
from training.errors import DataError

_WINDOW = 8
"""Batches whose samples are sorted by length together: padding shrinks, and the order stays random beyond them."""


def _epochs(count: int, needed: int, generator: np.random.Generator) -> Integers:
    """``needed`` of ``count`` indices: shuffled passes over all of them, one after another."""
    if needed == 0:
        return np.empty(0, np.int64)
    passes = [generator.permutation(count) for _ in range(-(-needed // count))]
    return np.concatenate(passes)[:needed].astype(np.int64)


def mix(task: int, safety: int, share: float, total: int, seed: int, count: int | None = None) -> Integers:
    """The order in which samples are seen; safety samples are numbered after the ``task`` task samples.

    Args:
        task: number of task samples.
        safety: number of safety samples.
        share: share of ``total`` that are safety samples.
        total: samples seen during the training, repeats counted.
        seed: of the shuffles.
        count: instead of a share, the distinct safety samples that join the task samples, as if both were one data set
            (the paper adds 1,000); drawn by the seed.

    Returns:
        ``[total]`` indices, each source in shuffled passes, safety samples at random places.

    Raises:
        DataError: samples are asked of an empty source.
    """
    if count is not None and count > safety:
        raise DataError(
            f"safety_count ({count}) asks for more safety samples than data.safety has to train on ({safety}): "
            f"lower it to {safety} at most, or add samples"
        )
    wanted = round(total * (share if count is None else count / max(1, task + count)))
    if task == 0 and wanted < total:
        raise DataError("data.task has no training samples; give it some")
    if safety == 0 and wanted:
        raise DataError(f"safety_share ({share}) asks for safety samples, but data.safety has none; set it to 0")
    # Independent streams: the task samples and their order do not change with the share of safety samples.
    task_stream, safety_stream, places_stream = (np.random.default_rng([seed, stream]) for stream in range(3))
    order = np.empty(total, np.int64)
    is_safety = np.zeros(total, bool)
    is_safety[places_stream.permutation(total)[:wanted]] = True
    order[~is_safety] = _epochs(task, total - wanted, task_stream)
    drawn = safety_stream.permutation(safety)[:count] if count is not None else np.arange(safety)
    order[is_safety] = task + drawn[_epochs(len(drawn), wanted, safety_stream)]
    return order


def group_by_length(order: Integers, lengths: Integers, batch_size: int, seed: int) -> Integers:
    """Cut ``order`` into global batches of similar length.

    Args:
        order: ``[steps * batch_size]`` indices of samples.
        lengths: ``[samples]`` tokens per sample.
        batch_size: samples per optimizer step over all ranks.
        seed: of the shuffle of the batches within a window.

    Returns:
        ``[steps, batch_size]``; within a step sorted by length.
    """
    generator = np.random.default_rng([seed, 3])
    batches = []
    for start in range(0, len(order), _WINDOW * batch_size):
        window = order[start : start + _WINDOW * batch_size]
        window = window[np.argsort(lengths[window], kind="stable")].reshape(-1, batch_size)
        batches.append(generator.permutation(window, axis=0))
    return np.concatenate(batches)


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
        """Mix the two sources and group by length; see :func:`mix` and :func:`group_by_length`."""
        order = mix(task, safety, share, steps * batch_size, seed, count)
        return cls(group_by_length(order, lengths, batch_size, seed))

    def micro_batches(self, step: int, rank: int, world_size: int, micro_batch_size: int) -> list[Integers]:
        """The samples of ``rank`` in optimizer step ``step``, one entry per forward pass.

        Ranks take every ``world_size``-th sample of the length-sorted batch, so that they do similar work.
        """
        mine = self.steps[step][rank::world_size]
        return [mine[start : start + micro_batch_size] for start in range(0, len(mine), micro_batch_size)]
