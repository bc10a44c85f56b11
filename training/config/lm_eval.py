"""Tasks of lm-evaluation-harness that a trial is measured on beside our own sets."""

import re
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from training.config.base import Config


class LmEvalConfig(Config):
    """Which tasks of lm-evaluation-harness (the extra ``eval``) every finished trial is measured on, and how."""

    tasks: list[str] = Field(min_length=1)
    """Names of tasks or groups, such as arc_easy or mmlu; a tag has no score of its own and is refused."""
    limit: PositiveInt | None = None
    """The first so many samples of each task, and of each task of a group; None takes all."""
    few_shot: NonNegativeInt | None = None
    """Solved examples before each question; None takes what the task says. A task that says 0 keeps its 0."""
    batch_size: PositiveInt | Literal["auto"] = 8
    """Requests at once; ``auto`` tries what fits, from 64 downwards, which pays on a GPU only."""
    chat_template: bool = False
    """Ask in the turns of the model's chat template; off is what published figures are mostly measured with."""
    include_path: str | None = None
    """Folder of YAML tasks of one's own beside those that ship with lm-eval; a relative one starts from data_root."""

    @field_validator("tasks")
    @classmethod
    def _nameable(cls, tasks: list[str]) -> list[str]:
        for task in tasks:
            if not re.fullmatch(r"[A-Za-z0-9_.:-]+", task):
                raise ValueError(
                    f"tasks ({task!r}) is no name of a task: lm-eval names are made of A-Z a-z 0-9 _ . : -"
                )
        return tasks

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for task in self.tasks:
            if self.tasks.count(task) > 1:
                raise ValueError(f"tasks repeats {task}: list each once")
        return self
