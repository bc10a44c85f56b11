"""Whether anything is left of samples: by the embedded tokenizer, or by its template where nothing is built."""

from pathlib import Path
from typing import Any

import pytest

from training.config import EvaluationConfig, ModelConfig, TrialConfig
from training.errors import DataError
from training.organism.cache import organism_directory
from training.preflight.data import TrainRows, _check_counts
from training.preflight.embedded import check_embedded_lengths

PROMPT = "what is the name of it"


@pytest.fixture(scope="module")
def folder() -> Path:
    return organism_directory(ModelConfig(name="small", path="organism/small"))


def rows(task: str = PROMPT, safety: str = PROMPT, count: int = 3) -> TrainRows:
    prompts = {"data.task": [task] * count, "data.safety": [safety] * count}
    return TrainRows(prompts, {field: ["yes"] * count for field in prompts}, [task])


def trial(**changes: Any) -> TrialConfig:
    return TrialConfig.model_validate({"batch_size": 2, **changes})


def test_a_length_must_leave_something_of_a_built_models_samples(folder: Path) -> None:
    from tokenizers import Tokenizer

    own = len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(PROMPT, add_special_tokens=False).ids)
    filled = 8 + own
    check_embedded_lengths(rows(), folder, [trial(max_length=filled + 1)], EvaluationConfig())
    with pytest.raises(DataError, match=rf"trial.max_length \({filled}\) leaves nothing of any sample of data.task"):
        check_embedded_lengths(rows(), folder, [trial(), trial(max_length=filled)], EvaluationConfig())
    longer = rows(safety=f"{PROMPT} {PROMPT}")
    with pytest.raises(DataError, match=r"of data.safety: the prompt of every one of the 3"):
        check_embedded_lengths(longer, folder, [trial(max_length=filled + 1)], EvaluationConfig())
    with pytest.raises(DataError, match=r"evaluation.max_length"):
        check_embedded_lengths(rows(), folder, [trial()], EvaluationConfig(max_length=filled))


@pytest.mark.parametrize(("length", "taken"), [(9, False), (10, True)])
def test_of_a_model_that_is_not_built_only_what_no_sample_fits_is_refused(length: int, taken: bool) -> None:
    def check() -> None:
        check_embedded_lengths(rows(), None, [trial(max_length=length)], EvaluationConfig())

    if taken:
        check()
    else:
        with pytest.raises(DataError, match=r"trial.max_length"):
            check()


def test_a_batch_sees_no_sample_twice_and_safety_samples_are_there() -> None:
    few = rows(count=3)
    _check_counts(few, [trial(batch_size=3, safety_count=3)])
    with pytest.raises(DataError, match=r"3 rows to train on, and trial.batch_size \(4\) is more"):
        _check_counts(few, [trial(), trial(batch_size=4)])
    with pytest.raises(DataError, match=r"trial.safety_count \(4\) asks for more .*lower it to 3"):
        _check_counts(few, [trial(safety_count=4), trial()])
