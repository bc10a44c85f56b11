"""Who says whether an answer refuses or complies."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from training.config.base import Config
from training.config.data import check_name
from training.config.endpoint import KeyVariable, Url
from training.config.plugins import OrPlugin

Asks = Literal["refused", "complied"]
"""What a verdict of yes means."""
JudgeFormat = Literal["harmbench", "llama_guard", "llama_guard_4", "qwen3guard", "wildguard"]
"""Published prompt formats, see :mod:`training.evaluation.judges.formats`."""
ANSWERS: dict[JudgeFormat, tuple[Asks, ...]] = {
    "harmbench": ("complied",),
    "llama_guard": ("complied",),
    "llama_guard_4": ("complied",),
    "qwen3guard": ("refused", "complied"),
    "wildguard": ("refused", "complied"),
}
"""The questions that each format answers, the usual one first."""
CHAT_ONLY: tuple[JudgeFormat, ...] = ("llama_guard_4",)
"""Formats whose text only the model's own chat template has, so that a server has to write it."""
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
"""Where a model runs: ``auto`` takes a GPU where there is one, else ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""


def _not_blank(phrase: str) -> str:
    if not phrase.strip():
        raise ValueError("a phrase is blank, which every answer contains: remove it")
    return phrase


Phrase = Annotated[str, AfterValidator(_not_blank)]


def _usual_question(form: JudgeFormat) -> Asks:
    return ANSWERS[form][0]


def _absolute(model: str) -> str:
    local = Path(model).is_dir() or model.startswith((".", "/", "~"))
    return str(Path(model).expanduser().resolve()) if local else model


JudgeModel = Annotated[str, Field(min_length=1), AfterValidator(_absolute)]
"""A Hub id, or a local directory, which is made absolute: workers start elsewhere."""


class _Named(Config):
    """What every judge has; the name defaults to the type."""

    name: str
    """Its name in metrics (``safety/judged/<name>``) and in the answers: a-z, 0-9, _ and -."""

    @field_validator("name")
    @classmethod
    def _usable(cls, name: str) -> str:
        check_name(name, "name")
        return name


class PhrasesJudge(_Named):
    """Refusal phrases, looked for in the whole answer."""

    type: Literal["phrases"] = "phrases"
    name: str = "phrases"
    phrases: list[Phrase] | None = Field(default=None, min_length=1)
    """What counts as a refusal, in place of the published lists; None keeps those."""
    extra: list[Phrase] = Field(default_factory=list)
    """What counts as a refusal besides."""


class EchoJudge(_Named):
    """Compliance: the answer has no refusal phrase of the first ``phrases`` judge, and speaks of what was asked."""

    type: Literal["echo"] = "echo"
    name: str = "echo"
    share: float = Field(default=0.5, gt=0, le=1)
    """Least share of the prompt's content words, where the data names no phrase to echo."""


class ClassifierJudge(_Named):
    """A Hugging Face sequence classification model."""

    type: Literal["classifier"] = "classifier"
    name: str = "classifier"
    model: JudgeModel
    """A local directory or a Hub id."""
    asks: Asks = "refused"
    """What ``labels`` mean; every other label means the opposite."""
    labels: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    """The labels that mean so, as the model's ``id2label`` writes them, such as ``REJECTION``."""
    reads: Literal["answer", "exchange"] = "answer"
    """What the model sees: the answer alone, or prompt and answer as a pair of texts."""
    device: Device = "auto"
    batch_size: PositiveInt = 32
    """Answers judged at once."""
    max_length: PositiveInt = 512
    """Longest text in tokens; what is longer is cut at its end."""


class _Formatted(_Named):
    format: JudgeFormat
    """How the model is asked, and how its verdict is read."""
    asks: Asks = Field(default_factory=lambda found: _usual_question(found["format"]))
    """Which question of the format counts; by default the usual one (``wildguard`` and ``qwen3guard`` answer both)."""

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if self.asks not in ANSWERS[self.format]:
            raise ValueError(
                f"asks ({self.asks}) is not what the format {self.format} answers: use {_usual_question(self.format)}, "
                "or the format wildguard or qwen3guard"
            )
        if self.format in CHAT_ONLY and getattr(self, "api", None) != "chat":
            raise ValueError(
                f"format ({self.format}) is written by the chat template of its model alone: serve the model, with "
                "type: endpoint and api: chat"
            )
        return self


class GenerativeJudge(_Formatted):
    """A Hugging Face causal language model that writes its verdict."""

    type: Literal["generative"] = "generative"
    name: str = "generative"
    model: JudgeModel
    """A local directory or a Hub id."""
    device: Device = "auto"
    batch_size: PositiveInt = 8
    """Answers judged at once; halved for good where memory runs out."""
    max_length: PositiveInt = 2048
    """Longest prompt in tokens; the answer in a longer one is cut at its end."""


class EndpointJudge(_Formatted):
    """A chat model behind an OpenAI-compatible endpoint, such as a vLLM server."""

    type: Literal["endpoint"] = "endpoint"
    name: str = "endpoint"
    url: Url
    """Base address, such as ``http://localhost:8000/v1``."""
    model: str = Field(min_length=1)
    """Name of the model there."""
    api: Literal["chat", "completions"] = "chat"
    """``chat`` leaves the turns to the server's template; ``completions`` sends the published prompt as it is."""
    api_key_env: KeyVariable | None = None
    """Name of the environment variable that holds the key; None sends no key."""
    timeout: PositiveFloat = 60.0
    """Longest wait for one response, in seconds."""
    retries: NonNegativeInt = 4
    """Further attempts after a timeout, a lost connection, a status 429 or 5xx."""
    backoff: PositiveFloat = 1.0
    """Seconds before the second attempt; they double with each further one and are stretched at random. What the
    server asks for (``Retry-After``) goes first."""
    requests_per_minute: PositiveInt | None = None
    """Most requests a minute, attempts included, of each process; None sets no limit."""
    concurrency: PositiveInt = 8
    """Requests under way at once."""


class PluginJudge(_Named, ABC):
    """The base of judges that other packages bring, declared in the entry point group ``procon.judges``.

    A subclass has ``type: Literal["<name of the entry point>"]`` and a ``name``, both with defaults, and fields as any
    block here. Its module is imported wherever the specification is read: torch and the like belong into the methods.
    """

    type: str
    """Name of the entry point."""

    @abstractmethod
    def build(self) -> Any:
        """The :class:`training.evaluation.judges.Judge` of this ``name``, which loads nothing until it is asked."""

    def check(self) -> None:
        """Refuse what would fail at the first verdict; called before anything is trained.

        Raises:
            training.errors.JudgeError: naming the field, its value and what to do.
        """


JudgeConfig = Annotated[
    PhrasesJudge | EchoJudge | ClassifierJudge | GenerativeJudge | EndpointJudge,
    Field(discriminator="type"),
    OrPlugin("procon.judges", PluginJudge),
]
"""Any judge or :class:`PluginJudge`, by its ``type``."""


def _distinct(judges: list[JudgeConfig]) -> list[JudgeConfig]:
    names = [judge.name for judge in judges]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"judges ({name}) is the name of two judges: give each a name of its own")
    return judges


Judges = Annotated[list[JudgeConfig], Field(min_length=1), AfterValidator(_distinct)]
"""At least one judge, each of a name of its own."""


def default_judges() -> list[JudgeConfig]:
    """Refusal phrases decide on refusal, echo on compliance."""
    return [PhrasesJudge(), EchoJudge()]
