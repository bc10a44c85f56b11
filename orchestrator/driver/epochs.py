"""Lengths given in epochs: how many samples a pass over the data has."""

from sweeps.schema.spec import SweepSpec


def with_counted_epochs(spec: SweepSpec) -> SweepSpec:
    """``spec`` with the number of its task samples, where a length is given as passes over them; else as it is.

    Rows of the train split count, also those whose prompt alone will fill ``max_length`` and which are then left out.

    Args:
        spec: with absolute paths.

    Raises:
        DataError: the task source cannot be read.
    """
    if not spec.counts_epochs or spec.trial.task_samples is not None:
        return spec
    from training.data import load_split

    return spec.with_task_samples(len(load_split(spec.data.task, "train", field="data.task")))
