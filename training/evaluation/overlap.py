"""Evaluation prompts that the model was trained on."""

from collections.abc import Mapping, Sequence

from training.config import DataConfig
from training.data import load_split
from training.errors import DataError
from training.evaluation.draw import plain


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
    found = []
    for field in ("task", "safety"):
        trained = {
            plain(prompt) for prompt in load_split(getattr(data, field), "train", field=f"data.{field}")["prompt"]
        }
        for name, asked in prompts.items():
            shared = sum(plain(prompt) in trained for prompt in asked)
            if shared:
                found.append(
                    f"{shared} of the {len(asked)} evaluation prompts of {name} are training prompts of data.{field}, "
                    "so the model may know their answers"
                )
    return found


def refuse_overlaps(data: DataConfig, prompts: Mapping[str, Sequence[str]]) -> None:
    """What ``evaluation.strict`` asks for.

    Raises:
        DataError: evaluation prompts are training prompts too, or a train split cannot be read.
    """
    found = training_overlaps(data, prompts)
    if found:
        raise DataError(f"{found[0]}; take them out, or set evaluation.strict to false")
