"""Thoughts that a model writes before it answers: how they are marked, and how they are taken off the answer."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.config import ReasoningMarks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""What a tokenizer's ``response_template`` may call the thought."""


@dataclass(frozen=True)
class Reasoning:
    """What stands around a thought, in the text of an answer with its special tokens."""

    open: str
    """What a thought begins with."""
    close: str
    """What it ends with; behind it the answer begins."""
    between: str = ""
    """What stands between the thought's last word and ``close``."""

    def opened_by(self, prompt: str) -> bool:
        """Whether ``prompt``, generation prompt included, leaves a thought open."""
        return prompt.rfind(self.open) > prompt.rfind(self.close)

    def closed_by(self, prompt: str) -> bool:
        """Whether ``prompt`` ends with a thought that is over, as templates write where thinking is switched off."""
        return prompt.rstrip().endswith(self.close)

    def split(self, text: str, *, opened: bool = False) -> tuple[str | None, str]:
        """The thought and the answer in ``text``.

        A thought that never ends leaves no answer; one that is closed without having been opened began with the text.

        Args:
            text: what the model wrote, with its special tokens.
            opened: whether the prompt had opened a thought.

        Returns:
            the thought, none where there is no mark of one, and the answer.
        """
        first = text.partition(self.close)
        if opened or (first[1] and self.open not in first[0]):
            text = self.open + text
        thought = re.compile(f"{re.escape(self.open)}(.*?)(?:{re.escape(self.close)}|$)", re.DOTALL)
        found = thought.findall(text)
        if not found:
            return None, text
        cleaned = (one.removesuffix(self.between).strip() for one in found)
        return "\n".join(one for one in cleaned if one), thought.sub("", text).lstrip()


KNOWN = (
    Reasoning("<think>", "</think>"),
    Reasoning("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|><|start|>assistant"),
    Reasoning("<seed:think>", "</seed:think>"),
    Reasoning("[THINK]", "[/THINK]"),
    Reasoning("<|channel>thought\n", "<channel|>"),
)
"""DeepSeek, Qwen3 and most others; gpt-oss; Seed-OSS; Magistral; Gemma 4."""


def marks_in(template: str) -> Reasoning | None:
    """The usual marks that the text of a chat template speaks of; None where it speaks of none."""
    return next((one for one in KNOWN if one.close in template or one.open in template), None) or _channels(template)


def _channels(template: str) -> Reasoning | None:
    """gpt-oss's template puts its marks together from parts."""
    return KNOWN[1] if "<|channel|>" in template and "analysis" in template else None


def reasoning_of(tokenizer: "PreTrainedTokenizerBase") -> Reasoning | None:
    """How the model of ``tokenizer`` marks its thoughts; None where nothing says that it has any.

    The tokenizer's ``response_template`` decides where it has one (transformers reads answers by it), then the chat
    template.
    """
    template = tokenizer.chat_template
    texts: Iterable[Any] = template.values() if isinstance(template, dict) else [template or ""]
    return reasoning_in("\n".join(map(str, texts)), getattr(tokenizer, "response_template", None))


def reasoning_in(
    template: str, declared: Mapping[str, Any] | None, chosen: str | ReasoningMarks = "auto"
) -> Reasoning | None:
    """The same from the text of a chat template and a tokenizer's ``response_template``, unless ``chosen`` says it."""
    if isinstance(chosen, ReasoningMarks):
        return Reasoning(chosen.open, chosen.close)
    if chosen == "none":
        return None
    return marks_in(template) if declared is None else _declared(declared.get("fields", {}))


def _declared(fields: Mapping[str, Any]) -> Reasoning | None:
    for name in _FIELDS:
        marks = fields.get(name) or {}
        if isinstance(marks.get("open"), str) and isinstance(marks.get("close"), str):
            known = (one for one in KNOWN if one.open == marks["open"])
            return next(known, None) or Reasoning(marks["open"], marks["close"])
    return None


def set_reasoning(tokenizer: "PreTrainedTokenizerBase", chosen: str | ReasoningMarks) -> None:
    """Declare on ``tokenizer`` how thoughts are marked, for :func:`reasoning_of`; ``none`` declares that none are."""
    marks = {} if isinstance(chosen, str) else {_FIELDS[0]: chosen.model_dump()}
    tokenizer.response_template = {"fields": marks}


def end_of_thought(tokenizer: "PreTrainedTokenizerBase") -> int | str | None:
    """What lm-eval is to split replies at, the answer being what follows its last occurrence; None without thoughts.

    Returns:
        the id of the token that a thought's closing mark ends with, since texts are decoded without special tokens;
        the mark itself where the tokenizer has no such token.
    """
    marks = reasoning_of(tokenizer)
    if marks is None:
        return None
    last = int(tokenizer(marks.close, add_special_tokens=False)["input_ids"][-1])
    return last if last in tokenizer.added_tokens_decoder else marks.close


ROOM_FOR_A_THOUGHT = 1024
"""Tokens below which a thought and its answer will hardly fit: those of current models run to hundreds or thousands."""


def thoughts_cut_short(name: str, reasoning: Reasoning | None, template: str, prompt: str, tokens: int) -> str | None:
    """Why ``evaluation.max_new_tokens`` cannot be enough, in a sentence; None where nothing speaks against it.

    Args:
        name: of the model.
        reasoning: how it marks its thoughts.
        template: the text of its chat template.
        prompt: as the template writes it, generation prompt included.
        tokens: largest number of new tokens.
    """
    if reasoning is None or reasoning.closed_by(prompt) or tokens >= ROOM_FOR_A_THOUGHT:
        return None
    switch = next((one for one in ("enable_thinking", "thinking") if re.search(rf"\b{one} (is|==)", template)), None)
    off = f", or switch thinking off with chat_template_kwargs: {{{switch}: false}} of the model" if switch else ""
    return (
        f"{name} thinks before it answers, by its chat template, and evaluation.max_new_tokens ({tokens}) will cut "
        f"most replies off before an answer: raise it to {ROOM_FOR_A_THOUGHT} or more{off}; reasoning: none "
        "of the model says that it does not think"
    )
