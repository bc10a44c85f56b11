"""The held-out prompts that every trial of a sweep is measured on."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from transformers import PreTrainedTokenizerBase

from training.chat import EncodedSample, encode_prompts, encode_samples
from training.config import DataConfig, EvaluationConfig, Source
from training.data import load_split
from training.errors import DataError

SetName = Literal["harmful", "harmless", "borderline", "task"]


@dataclass(frozen=True)
class PromptSet:
    """One set of prompts, tokenised once."""

    name: SetName
    """Which of the evaluation's sets it is."""
    prompts: list[str]
    """The users' messages, all distinct."""
    token_ids: list[list[int]]
    """Each prompt in the chat template, up to and including the generation prompt."""
    requests: list[str | None]
    """What a compliant answer would echo, where the data says so."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def ids(self) -> list[str]:
        """Identity of every prompt: a hash of its text, the same in every sweep."""
        return [hashlib.sha256(prompt.encode()).hexdigest()[:12] for prompt in self.prompts]


@dataclass(frozen=True)
class TaskSet(PromptSet):
    """Task prompts with what their answers are checked against."""

    golds: list[str | None]
    """The answer that counts as correct; none where a sample has nothing to be checked against."""
    families: list[str | None]
    """The task family, where the data names one."""
    samples: list[EncodedSample]
    """Prompt and response for the held-out loss; empty where the data has no responses."""


@dataclass(frozen=True)
class EvaluationSets:
    """Everything a trial is measured on, apart from the direction."""

    harmful: PromptSet
    """Harmful prompts: attack success and compliance."""
    harmless: PromptSet
    """Ordinary prompts: refusals that should not be."""
    borderline: PromptSet
    """Safe prompts that sound harmful: over-refusal."""
    task: TaskSet
    """Held-out task samples: accuracy and loss."""
    max_new_tokens: int
    """Longest answer generated, in tokens."""
    batch_size: int
    """Prompts generated at once."""

    @classmethod
    def load(
        cls,
        data: DataConfig,
        config: EvaluationConfig,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int = 512,
    ) -> Self:
        """Draw the prompts from the test splits and tokenise them; the same settings draw the same prompts.

        Args:
            data: sources with absolute paths, embedded sets or Hub ids.
            config: how many prompts, and the seed of the draw.
            tokenizer: with a chat template.
            max_length: longest prompt in tokens, and longest prompt with its response; as in training, a longer
                prompt loses its start.

        Raises:
            DataError: a test split is missing, empty, or lacks a column.
        """

        def prompts(name: SetName, source: Source, count: int) -> PromptSet:
            rows = _drawn(name, source, count, config.seed)
            return PromptSet(name, **_prompt_columns(rows, tokenizer, max_length))

        return cls(
            harmful=prompts("harmful", data.harmful, config.harmful),
            harmless=prompts("harmless", data.harmless, config.harmless),
            borderline=prompts("borderline", data.borderline, config.borderline),
            task=_task_set(_drawn("task", data.task, config.task, config.seed), tokenizer, max_length),
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
        )


def _drawn(name: SetName, source: Source, count: int, seed: int) -> list[dict[str, Any]]:
    """At most ``count`` rows with distinct prompts: an interval counts prompts, and a repeated one says nothing new."""
    by_prompt: dict[str, dict[str, Any]] = {}
    for row in load_split(source, "test", field=f"data.{name}"):
        by_prompt.setdefault(row["prompt"], row)
    rows = list(by_prompt.values())
    if not rows:
        raise DataError(f"data.{name}: its test split is empty, so there is nothing to measure on: add prompts")
    chosen = sorted(random.Random(f"{seed}/{name}").sample(range(len(rows)), min(count, len(rows))))
    return [rows[index] for index in chosen]


def _prompt_columns(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, Any]:
    prompts = [str(row["prompt"]) for row in rows]
    return {
        "prompts": prompts,
        "token_ids": [ids[-max_length:] for ids in encode_prompts(tokenizer, prompts)],
        "requests": [row.get("request") or None for row in rows],
    }


def _task_set(rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> TaskSet:
    """Golds come from ``answer``; a source that has none at all is checked against its whole responses."""
    golds = [row.get("answer") or None for row in rows]
    if not any(golds):
        golds = [row.get("response") or None for row in rows]
    if not any(golds):
        raise DataError("data.task: neither answer nor response is there to check answers against: add one of them")
    answered = [(str(row["prompt"]), str(row["response"])) for row in rows if row.get("response")]
    return TaskSet(
        "task",
        **_prompt_columns(rows, tokenizer, max_length),
        golds=golds,
        families=[row.get("family") or None for row in rows],
        samples=encode_samples(
            tokenizer, [prompt for prompt, _ in answered], [response for _, response in answered], max_length
        ),
    )
