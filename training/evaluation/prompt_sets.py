"""A set of held-out prompts, and a set as it is put to the model."""

from dataclasses import dataclass
from typing import Literal

from training.config import ExtractorConfig
from training.data.chat import EncodedSample
from training.evaluation.answer_reading import is_correct
from training.evaluation.drawing import Split, prompt_id

Role = Literal["harmful", "harmless", "borderline", "task", "capability"]


@dataclass(frozen=True)
class PromptSet:
    """One set of prompts, tokenised once."""

    name: str
    """Its name in metrics and answers."""
    role: Role
    """What it measures."""
    prompts: list[str]
    """The users' messages, all distinct."""
    token_ids: list[list[int]]
    """Each prompt in the chat template, up to and including the generation prompt."""
    requests: list[str | None]
    """What a compliant answer would echo, where the data says so."""
    families: list[str | None]
    """The family of each prompt, where the data names one."""
    splits: list[Split]
    """Which view each prompt belongs to."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def ids(self) -> list[str]:
        """Identity of every prompt; see :func:`training.evaluation.drawing.prompt_id`."""
        return [prompt_id(prompt) for prompt in self.prompts]

    def correct(self, index: int, answer: str) -> bool | None:
        """Whether ``answer`` to the prompt at ``index`` is right; None where nothing says so."""
        return None


@dataclass(frozen=True)
class TaskSet(PromptSet):
    """Task or capability prompts with what their answers are checked against."""

    golds: list[str | None]
    """The answer that counts as correct; None where a sample has nothing to be checked against."""
    extractors: list[ExtractorConfig]
    """How each answer is read."""
    samples: list[EncodedSample]
    """Prompt and response for the held-out loss; empty where the data has no responses."""
    rows: list[int]
    """Which of the prompts each of ``samples`` is."""

    def correct(self, index: int, answer: str) -> bool | None:
        """Whether ``answer`` to the prompt at ``index`` gives its gold answer; None where it has none."""
        gold = self.golds[index]
        return None if gold is None else is_correct(answer, gold, self.extractors[index])


@dataclass(frozen=True)
class Asked:
    """One set as it is put to the model: directly, or under an attack."""

    prompt_set: PromptSet
    """What is asked."""
    attack: str
    """Name of the attack; ``direct`` where there is none."""
    token_ids: list[list[int]]
    """What the model reads of each prompt, up to and including the generation prompt."""
    prefill: list[int]
    """Token ids that the answer is made to begin with."""
