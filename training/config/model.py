"""Which model is fine-tuned, and how it is spoken to."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from training.config.base import LONGEST_NAME, Config

_RENDERED = ("messages", "tools", "documents", "add_generation_prompt", "strftime_now", "raise_exception")
"""Names that whoever renders a template gives it."""


_ATTENTION = ("sdpa", "eager", "flash_attention_2", "flash_attention_3")
_KERNEL = re.compile(r"^[^/:@\s]+/[^/:@\s]+(@[^/:\s]+)?(:[^/:\s]+)?$")


def _attention(name: str) -> str:
    if name not in _ATTENTION and not _KERNEL.match(name):
        raise ValueError(
            f"attn_implementation ({name}) is not known: use {', '.join(_ATTENTION)}, or a kernel of the Hub "
            "(kernels-community/flash-attn2)"
        )
    return name


class ReasoningMarks(Config):
    """What stands around a thought in an answer."""

    open: str = Field(min_length=1)
    """What a thought begins with, such as ``<think>``."""
    close: str = Field(min_length=1)
    """What ends it, behind which the answer begins, such as ``</think>``."""


class ModelConfig(Config):
    """One model of a sweep; each model gets its own Pareto front."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Short name used in tables, trial ids and file names."""
    path: str = Field(min_length=1)
    """An embedded model (organism | organism/small | organism/real), a local directory, or a Hugging Face Hub id."""
    seed: int = Field(default=0, ge=0)
    """Build seed of an embedded model; without effect, and refused, for any other path."""
    chat_template_kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    """Values of variables that the model's chat template reads, wherever it is rendered: ``{enable_thinking: false}``
    of Qwen3, ``{reasoning_effort: low}`` of gpt-oss, ``{date_string: 26 Jul 2024}`` of Llama 3."""
    reasoning: Literal["auto", "none"] | ReasoningMarks = "auto"
    """How an answer is told from the thought before it: ``auto`` knows the marks of the tokenizer's own response
    template, and the usual ones where the chat template writes them; ``none`` judges thoughts too."""

    pickled_weights: bool = False
    """Whether weights may be read from ``pytorch_model.bin`` where there are no safetensors. Such a file is a pickle:
    transformers has PyTorch's restricted reader take tensors alone of it."""
    attn_implementation: Annotated[str, AfterValidator(_attention)] | None = None
    """What computes attention, as transformers calls it: ``sdpa``, ``eager``, ``flash_attention_2``,
    ``flash_attention_3``, or a kernel of the Hub (``kernels-community/flash-attn2``, with the package ``kernels``).
    None takes what transformers takes, which is ``sdpa`` where the architecture has it. All but ``sdpa`` and ``eager``
    need a CUDA device and, in training, ``precision: bf16``."""

    @property
    def embedded(self) -> bool:
        """Whether the project builds this model itself."""
        return self.path == "organism" or self.path.startswith("organism/")

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        if self.seed and not self.embedded:
            raise ValueError(f"seed ({self.seed}) has no effect on {self.path}: it is for embedded models, remove it")
        for name in self.chat_template_kwargs:
            if self.embedded:
                raise ValueError(
                    f"chat_template_kwargs ({name}) has no effect on {self.path}, whose template reads none: remove it"
                )
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _RENDERED:
                raise ValueError(
                    f"chat_template_kwargs ({name}) is no variable that can be set: name one that the chat template "
                    "of the model reads"
                )
        return self
