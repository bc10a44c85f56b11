"""The tokenised training samples of a slot's trials."""

from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from training.config import DataConfig, Source, TrialConfig
from training.data.encoding import encode_source
from training.data.malicious import FIELD, chosen_rows, training_side
from training.data.samples import Samples
from training.data.sources import Split
from training.errors import DataError


class TrainingData:
    """Samples by the settings that they depend on, each tokenised once."""

    def __init__(self, data: DataConfig, tokenizer: PreTrainedTokenizerBase, tell: Callable[[str], None]) -> None:
        """Remember what to tokenise.

        Args:
            data: the sources.
            tokenizer: of the model.
            tell: told in a few words when that takes its time.
        """
        self._data, self._tokenizer, self._tell = data, tokenizer, tell
        self._samples: dict[tuple[int, int], tuple[Samples, int]] = {}

    def of(self, trial: TrialConfig) -> tuple[Samples, int]:
        """Task samples, malicious ones among them, followed by safety samples, and how many the former are."""
        key = trial.max_length, trial.malicious_count
        if key not in self._samples:
            self._tell("tokenising the training data")
            task, safety = (
                self._encoded(source, f"data.{field}", trial.max_length)
                for field, source in (("task", self._data.task), ("safety", self._data.safety))
            )
            if trial.malicious_count:
                task = task + self._malicious(trial)
            self._samples[key] = task + safety, len(task)
        return self._samples[key]

    def _malicious(self, trial: TrialConfig) -> Samples:
        if self._data.malicious is None:
            raise DataError(f"malicious_count ({trial.malicious_count}) needs data.malicious, which is not given")
        source, split = training_side(self._data.malicious)
        encoded = self._encoded(source, FIELD, trial.max_length, split)
        return encoded.only(chosen_rows(len(encoded), trial.malicious_count, source.split_seed))

    def _encoded(self, source: Source, field: str, max_length: int, split: Split = "train") -> Samples:
        return encode_source(source, split, field=field, tokenizer=self._tokenizer, max_length=max_length).samples
