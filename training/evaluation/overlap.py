"""Evaluation prompts that the model was trained on, or that the direction and its constraints were made from."""

from collections.abc import Iterable, Mapping, Sequence

from training.config import DataConfig
from training.data import load_split
from training.errors import DataError
from training.evaluation.drawing import plain


def training_overlaps(data: DataConfig, prompts: Mapping[str, Sequence[str]]) -> list[str]:
    """How many evaluation prompts are training prompts too, up to case, spacing and closing punctuation.

    Args:
        data: its task and safety sources are what is trained on.
        prompts: evaluation prompts by the name of their set.

    Returns:
        One sentence per set that shares prompts with the training data, with their number.

    Raises:
        DataError: a train split cannot be read.
    """
    found: list[str] = []
    for field in ("task", "safety"):
        trained = load_split(getattr(data, field), "train", field=f"data.{field}")["prompt"]
        consequence = f"are training prompts of data.{field}, so the model may know their answers"
        found += _shared(trained, prompts, consequence)
    return found


def direction_overlaps(drawn: Mapping[str, Sequence[str]], prompts: Mapping[str, Sequence[str]]) -> list[str]:
    """How many evaluation prompts are among those that the direction was extracted from and checked on.

    ``anchor`` and ``sdp`` take their prompts from the harmful ones of these, so that this is their check too. As with
    training prompts nothing is dropped: which prompts make the direction must not depend on what is measured.

    Args:
        drawn: prompts of the direction by source, ``harmful`` and ``harmless``.
        prompts: evaluation prompts by the name of their set.

    Returns:
        One sentence per set and source that share prompts, with their number.
    """
    found: list[str] = []
    for source, used in drawn.items():
        held = ", and what anchor and sdp hold," if source == "harmful" else ""
        consequence = (
            f"are prompts of data.{source} that the direction{held} is made from, so its effect on them says little of "
            "its effect on others"
        )
        found += _shared(used, prompts, consequence)
    return found


def _shared(used: Iterable[str], prompts: Mapping[str, Sequence[str]], consequence: str) -> list[str]:
    known = {plain(prompt) for prompt in used}
    shared = {name: sum(plain(prompt) in known for prompt in asked) for name, asked in prompts.items()}
    return [
        f"{count} of the {len(prompts[name])} evaluation prompts of {name} {consequence}"
        for name, count in shared.items()
        if count
    ]


def refuse_overlaps(data: DataConfig, prompts: Mapping[str, Sequence[str]], drawn: Mapping[str, Sequence[str]]) -> None:
    """What ``evaluation.strict`` asks for.

    Raises:
        DataError: evaluation prompts are training prompts or prompts of the direction too, or a train split cannot be
            read.
    """
    refuse(training_overlaps(data, prompts) + direction_overlaps(drawn, prompts))


def refuse(overlaps: Sequence[str]) -> None:
    """Raise the first of ``overlaps``, where there is one.

    Raises:
        DataError: with what to do.
    """
    if overlaps:
        raise DataError(f"{overlaps[0]}; take them out, or set evaluation.strict to false")
