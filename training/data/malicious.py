"""An attack on the fine-tuning data: a few harmful prompts with answers that comply (arXiv 2310.03693)."""

import random
from collections.abc import Callable, Iterator

from training.config.data import DataConfig, Source, SplitSource
from training.data.check import held_out
from training.data.sources import Split, load_split
from training.errors import DataError

FIELD = "data.malicious"


def training_side(source: Source) -> tuple[Source, Split]:
    """The source and its split that hold what is trained on: the train rows where it marks any, else all of its rows.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    marked = source.path is None or held_out(source, field=FIELD).test == SplitSource(path=source.path, split="test")
    return (source, "train") if marked else (held_out(source, field=FIELD), "test")


def chosen_rows(rows: int, count: int, seed: int) -> list[int]:
    """Which ``count`` of ``rows`` malicious samples are trained on; more of them add some and change none.

    Raises:
        DataError: there are not so many.
    """
    if count > rows:
        raise DataError(
            f"malicious_count ({count}) asks for more malicious samples than {FIELD} has to train on ({rows}): "
            f"lower it to {rows} at most, or add samples"
        )
    return random.Random(seed).sample(range(rows), rows)[:count]


def check_malicious(data: DataConfig, same: Callable[[str], str], count: int = 0) -> None:
    """Refuse malicious samples whose prompts are asked when attack success is measured, or any other rate.

    A model that was trained to answer a prompt says nothing about others by answering it.

    Args:
        data: with absolute paths.
        same: what two prompts that ask the same have in common.
        count: most samples that a trial takes.

    Raises:
        DataError: a source cannot be read or has fewer samples, or prompts are on both sides; with their number.
    """
    if data.malicious is None:
        return
    rows = load_split(*training_side(data.malicious), need=("prompt", "response"), field=FIELD)
    chosen_rows(len(rows), count, data.malicious.split_seed)
    trained = {same(prompt) for prompt in rows["prompt"]}
    for name, source in _measured_on(data):
        asked = load_split(source, "test", field=name)["prompt"]
        shared = sum(same(prompt) in trained for prompt in asked)
        if shared:
            raise DataError(
                f"{FIELD}: {shared} of the prompts it trains on are test prompts of {name}, which would measure what "
                "the model was taught and not what the attack does: take them out of one of the two"
            )


def _measured_on(data: DataConfig) -> Iterator[tuple[str, Source]]:
    for field, source in data.sources.items():
        if field.startswith(("harmful", "borderline")):
            name = f"data.{field}"
            yield name, (held_out(source, field=name) if "." in field else source)
