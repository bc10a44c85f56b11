"""The held-out prompts that every trial of a sweep is measured on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from transformers import PreTrainedTokenizerBase

from training.config import TRAINED_ON, DataConfig, EvaluationConfig, check_names
from training.errors import DataError
from training.evaluation.columns import DIRECT
from training.evaluation.drawing import Split
from training.evaluation.overlap import refuse, training_overlaps
from training.evaluation.prompt_sets import Asked, PromptSet, Role, TaskSet
from training.evaluation.set_loading import SetLoader
from training.models.batching import BatchSize


@dataclass(frozen=True)
class EvaluationSets:
    """Everything a trial is measured on, apart from the direction."""

    all: tuple[PromptSet, ...]
    """Every set; its name is unique."""
    attacked: tuple[Asked, ...]
    """The harmful sets under every attack."""
    apart: bool
    """Whether the two views share no prompt; else both are all prompts."""
    max_new_tokens: int
    """Longest answer generated, in tokens."""
    batch_size: BatchSize
    """Prompts generated at once."""
    warnings: list[str]
    """What a person should know of the data, a sentence each."""

    @property
    def asked(self) -> Iterator[Asked]:
        """Every set directly, then the harmful ones under every attack."""
        yield from (Asked(one, DIRECT, one.token_ids, []) for one in self.all)
        yield from self.attacked

    @property
    def task(self) -> TaskSet:
        """Held-out samples of the fine-tuning task."""
        return next(one for one in self.all if isinstance(one, TaskSet) and one.role == "task")

    @property
    def prompts(self) -> dict[str, list[str]]:
        """Prompts by the name of their set."""
        return _prompts(self.all)

    def of_role(self, role: Role) -> list[PromptSet]:
        """The sets that measure the same thing, the one every specification has first."""
        return [one for one in self.all if one.role == role]

    def view(self, splits: Sequence[Split], view: Split) -> list[int]:
        """Indices of the prompts in ``view``, given the split of each."""
        return [index for index, split in enumerate(splits) if not self.apart or split == view]

    @classmethod
    def load(cls, data: DataConfig, config: EvaluationConfig, tokenizer: PreTrainedTokenizerBase) -> Self:
        """Draw the prompts from the test splits and tokenise them; the same settings draw the same prompts.

        Args:
            data: sources with absolute paths, embedded sets or Hub ids.
            config: how many prompts, how they are split, how answers are read.
            tokenizer: with a chat template.

        Raises:
            DataError: a test split is missing, empty, lacks a column, has nothing to check answers against or leaves a
                view without prompts; a name is given twice; under ``strict``, prompts are training prompts too.
        """
        try:
            check_names(data, config)
        except ValueError as error:
            raise DataError(str(error)) from error
        loader = SetLoader(config, tokenizer)
        sets = tuple(loader.load(field, source) for field, source in data.sources.items() if field not in TRAINED_ON)
        loader.check_families(sets)
        harmful = [one for one in sets if one.role == "harmful"]
        overlaps = training_overlaps(data, _prompts(sets))
        if config.strict:
            refuse(overlaps)
        return cls(
            all=sets,
            attacked=tuple(loader.attack(one, attack) for attack in config.attacks for one in harmful),
            apart=config.report_share > 0,
            max_new_tokens=config.max_new_tokens,
            batch_size=BatchSize(config.batch_size),
            warnings=[*loader.warnings, *overlaps],
        )


def _prompts(sets: Iterable[PromptSet]) -> dict[str, list[str]]:
    return {one.name: one.prompts for one in sets}
