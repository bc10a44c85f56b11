"""``procon inspect``: real samples as they are trained on, and what the maximum length does to all of them."""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig, TrialConfig
from training.models.located import model_path

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from training.data.encoding import EncodedSource

Split = Literal["train", "test"]
Constrained = Literal["response", "last_prompt", "all"]
Report = Callable[[str, float], None]

_PERCENTILES = (5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Span:
    """Neighbouring tokens that are treated alike."""

    text: str
    trained: bool
    """Whether the cross-entropy is taken over them: the response with its end-of-turn token."""
    constrained: bool
    """Whether the constraint looks at them."""


@dataclass(frozen=True)
class ShownSample:
    """One sample, cut where its treatment changes."""

    source: str
    row: int
    """Its row in the split."""
    tokens: int
    spans: list[Span]


@dataclass(frozen=True)
class SourceStatistics:
    """All samples of one source."""

    source: str
    samples: int
    """Samples that are trained on."""
    skipped: int
    """Samples left out, since their prompt alone fills the whole length."""
    shortened_prompts: int
    """Samples whose prompt lost its start."""
    cut_responses: int
    """Samples whose response lost its end."""
    tokens: int
    trained_share: float
    """Share of all tokens that the cross-entropy is taken over."""
    constrained_share: float
    """Share of all tokens that the constraint looks at."""
    length_percentiles: dict[str, int]
    """Tokens per sample, by percentile."""


@dataclass(frozen=True)
class Inspection:
    """Everything that the command shows."""

    model: str
    split: Split
    max_length: int
    end_of_turn: str
    """The token that the model learns to end its turn with."""
    constraint: str
    sources: list[SourceStatistics]
    samples: list[ShownSample]
    thinking: str | None = None
    """Why answers will be cut off when the model is measured, where it thinks before them."""

    def as_json(self) -> dict[str, Any]:
        """The same as dictionaries and lists."""
        return asdict(self)


def constrained_tokens(trial: TrialConfig) -> Constrained | None:
    """Which tokens of a training sample the trial's constraint looks at; None where it looks at other things."""
    block = trial.constraint
    if not block.active:
        return None
    if block.type in ("constrained_sft", "kl_reference"):
        return "response"
    chosen: Constrained | None = getattr(block, "tokens", None)
    return chosen


def inspect(
    spec: SweepSpec, model: ModelConfig, *, samples: int, split: Split, report: Report = lambda _text, _share: None
) -> Inspection:
    """Tokenise the task and the safety source as a trial does, and draw samples of each.

    Args:
        spec: with absolute paths.
        model: whose tokenizer is used; an embedded model is built where the cache does not have it.
        samples: how many to show of each source, drawn with the trial's seed.
        split: ``train`` or ``test``.
        report: told what is being done.

    Raises:
        TrainingError: the tokenizer, its chat template or a source cannot be used.
    """
    from training.data.chat_settings import ChatSettings
    from training.data.chat_template import ending_of, rendered_prompts
    from training.data.encoding import encode_source
    from training.data.malicious import training_side
    from training.data.reasoning import reasoning_of, thoughts_cut_short
    from training.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model_path(model, spec.data, report), ChatSettings.of(model, date.today()))
    trial = spec.trial
    chosen = constrained_tokens(trial)
    encoded = {
        name: encode_source(
            getattr(spec.data, name), split, field=f"data.{name}", tokenizer=tokenizer, max_length=trial.max_length
        )
        for name in ("task", "safety")
    }
    if spec.data.malicious is not None and trial.malicious_count and split == "train":
        source, side = training_side(spec.data.malicious)
        encoded["malicious"] = encode_source(
            source, side, field="data.malicious", tokenizer=tokenizer, max_length=trial.max_length
        )
    draw = random.Random(trial.seed)
    shown = [
        _shown(name, source, index, tokenizer, chosen)
        for name, source in encoded.items()
        for index in sorted(draw.sample(range(len(source.samples)), min(samples, len(source.samples))))
    ]
    return Inspection(
        model=model.name,
        split=split,
        max_length=trial.max_length,
        end_of_turn=ending_of(tokenizer).token,
        constraint=f"{trial.constraint.type} at {chosen} tokens" if chosen else "no constraint on these tokens",
        sources=[_statistics(name, source, chosen) for name, source in encoded.items()],
        samples=shown,
        thinking=thoughts_cut_short(
            model.name,
            reasoning_of(tokenizer),
            tokenizer.get_chat_template(),
            rendered_prompts(tokenizer, ["?"])[0],
            spec.evaluation.max_new_tokens,
        ),
    )


def _statistics(name: str, source: "EncodedSource", chosen: Constrained | None) -> SourceStatistics:
    import numpy as np

    lengths, answers = source.samples.lengths, source.samples.response_lengths
    total = int(lengths.sum())
    looked_at = {"response": int(answers.sum()), "last_prompt": len(lengths), "all": total, None: 0}[chosen]
    percentiles = np.percentile(lengths, _PERCENTILES, method="inverted_cdf")
    return SourceStatistics(
        source=name,
        samples=len(lengths),
        skipped=len(source.chats.skipped),
        shortened_prompts=source.chats.shortened_prompts,
        cut_responses=source.chats.cut_responses,
        tokens=total,
        trained_share=int(answers.sum()) / total,
        constrained_share=looked_at / total,
        length_percentiles={f"p{at}": int(value) for at, value in zip(_PERCENTILES, percentiles, strict=True)},
    )


def _shown(
    name: str, source: "EncodedSource", index: int, tokenizer: "PreTrainedTokenizerBase", chosen: Constrained | None
) -> ShownSample:
    sample = source.chats.samples[index]
    start = sample.response_start

    def treatment(position: int) -> tuple[bool, bool]:
        answer = position >= start
        looked_at = {"response": answer, "last_prompt": position == start - 1, "all": True, None: False}[chosen]
        return answer, looked_at

    spans = [
        Span(tokenizer.decode([sample.input_ids[i] for i in places], clean_up_tokenization_spaces=False), *kind)
        for kind, places in ((kind, list(group)) for kind, group in groupby(range(len(sample.input_ids)), treatment))
    ]
    return ShownSample(name, source.chats.rows[index], len(sample.input_ids), spans)
