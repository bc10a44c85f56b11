"""Whether data are enough to train on, to extract a direction from and to be measured on; reads every row once.

By the very functions that training and measurement read them with, so that what passes here does not fail there.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from training.config import TRAINED_ON, DataConfig, DirectionConfig, EvaluationConfig, TrialConfig
from training.data.sources import split_table
from training.direction.prompts import draw_prompts, held_out_of
from training.errors import DataError
from training.evaluation.overlap import refuse_overlaps
from training.evaluation.set_rows import check_families, draw_rows, golds_of, role_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TRAINED = ("task", "safety")
_BATCH = 1000
"""Prompts that are tokenised at once in search of one that fits."""


@dataclass(frozen=True)
class TrainRows:
    """What a trial is trained on, and what its held-out loss is taken over."""

    prompts: dict[str, list[str]]
    """By field of the specification."""
    responses: dict[str, list[str]]
    """Likewise."""
    measured: list[str]
    """Prompts of the task that are measured on."""


def check_rows(
    data: DataConfig, evaluation: EvaluationConfig, direction: DirectionConfig, trials: list[TrialConfig]
) -> TrainRows:
    """Read all rows of all sources and refuse what cannot be used.

    Args:
        data: with absolute paths.
        evaluation: how many prompts are measured on.
        direction: how many prompts it is extracted from.
        trials: the trial, and those with the extremes of what is searched.

    Raises:
        DataError: naming source, value and fix.
    """
    found = TrainRows({}, {}, [])
    for name in _TRAINED:
        field = f"data.{name}"
        table = split_table(getattr(data, name), "train", need=("prompt", "response"), field=field)
        found.prompts[field] = table.column("prompt").to_pylist()
        found.responses[field] = table.column("response").to_pylist()
    _check_counts(found, trials)
    _check_direction(data, direction)
    asked = _check_measured(data, evaluation, found)
    if evaluation.strict:
        refuse_overlaps(data, asked, draw_prompts(data, direction).used)
    return found


def check_lengths(
    rows: TrainRows,
    tokenizer: "PreTrainedTokenizerBase",
    trials: list[TrialConfig],
    evaluation: EvaluationConfig,
) -> None:
    """Render and tokenise first samples as training does, and refuse a length that leaves nothing of any sample.

    Raises:
        DataError: naming the field of the length.
        ModelError: the chat template cannot be used.
    """
    from training.data.chat import encode_chats

    shortest = min(trial.max_length for trial in trials)
    for field, prompts in rows.prompts.items():
        encode_chats(tokenizer, prompts[:1], rows.responses[field][:1], shortest)
        _check_fits(tokenizer, prompts, shortest, field, "trial.max_length")
    _check_fits(tokenizer, rows.measured, evaluation.max_length, "data.task", "evaluation.max_length")


def _check_fits(tokenizer: "PreTrainedTokenizerBase", prompts: list[str], length: int, field: str, limit: str) -> None:
    from training.data.chat import encode_prompts

    ordered = sorted(prompts, key=len)  # the first batch nearly always holds one that fits
    for start in range(0, len(ordered), _BATCH):
        if any(len(ids) < length for ids in encode_prompts(tokenizer, ordered[start : start + _BATCH])):
            return
    refuse_length(limit, length, field, len(prompts))


def refuse_length(limit: str, length: int, field: str, samples: int) -> NoReturn:
    """Say that ``limit`` is too short.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{limit} ({length}) leaves nothing of any sample of {field}: the prompt of every one of the {samples} "
        f"fills it alone; raise {limit}"
    )


def _check_counts(rows: TrainRows, trials: list[TrialConfig]) -> None:
    task, safety = (len(rows.prompts[f"data.{name}"]) for name in _TRAINED)
    batch = max(trial.batch_size for trial in trials)
    if task < batch:
        raise DataError(
            f"data.task has {task} rows to train on, and trial.batch_size ({batch}) is more: every step would see some "
            "of them twice; add rows, or lower trial.batch_size"
        )
    wanted = max(trial.safety_count or 0 for trial in trials)
    if wanted > safety:
        raise DataError(
            f"trial.safety_count ({wanted}) asks for more safety samples than data.safety has to train on ({safety}): "
            f"lower it to {safety} at most, or add samples"
        )


def _check_direction(data: DataConfig, config: DirectionConfig) -> None:
    for side in ("harmful", "harmless"):
        table = split_table(getattr(data, side), "train", field=f"data.{side}")
        distinct = len(set(table.column("prompt").to_pylist()))
        held_out = held_out_of(distinct, config)
        if distinct - held_out < 2 or (config.causal is not None and held_out == 0):
            raise DataError(
                f"data.{side} has {distinct} distinct prompts to train on, which is too few for a direction and its "
                "check: add prompts (direction.prompts and direction.held_out say how many are used at most)"
            )


def _check_measured(data: DataConfig, config: EvaluationConfig, found: TrainRows) -> dict[str, list[str]]:
    """The prompts that are measured on, by the name of their set."""
    families: set[str | None] = set()
    capabilities: list[str] = []
    asked: dict[str, list[str]] = {}
    for field, source in data.sources.items():
        if field in TRAINED_ON:
            continue
        rows = [row for row, _ in draw_rows(field, source, config).rows]
        name = field.partition(".")[2] or field
        if role_of(field) in ("task", "capability"):
            golds_of(f"data.{field}", name, rows, config)
        if field == "task":
            families = {row.get("family") or None for row in rows}
            found.measured.extend(row["prompt"] for row in rows)
        elif role_of(field) == "capability":
            capabilities.append(name)
        asked[name] = [row["prompt"] for row in rows]
    check_families(families, capabilities, config)
    return asked
