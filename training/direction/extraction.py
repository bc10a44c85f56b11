"""A model's direction from prompts to verdict: drawn, filtered, extracted, checked, and kept on disk."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from training.config import DataConfig, DirectionConfig
from training.data.chat import encode_prompts
from training.direction.causal import CausalReport
from training.direction.causal_file import load_report, save_report
from training.direction.causal_scores import check_direction
from training.direction.prompts import DirectionPrompts, draw_prompts, filtered
from training.direction.vectors import METADATA_FILE, Direction, extract_direction
from training.distributed.locks import acquire
from training.distributed.ranks import from_rank_zero, rank
from training.distributed.sharding import computed_together
from training.errors import DirectionError
from training.models.checks import check_model
from training.models.loading import base_model
from training.models.writers import residual_writers

PROMPTS_FILE = "prompts.json"
_RENDERED = "rendered"


@dataclass(frozen=True, eq=False)
class Extraction:
    """A direction, what it was made of and what it causes."""

    direction: Direction
    prompts: DirectionPrompts
    """Those that were kept."""
    causal: CausalReport | None
    """None where no check was asked for."""


def load_or_extract(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: DataConfig,
    config: DirectionConfig,
    directory: Path,
    *,
    model_fingerprint: str,
    say: Callable[[str], None],
) -> Extraction:
    """The direction of ``model``; of processes that ask for the same directory, one extracts and the others read.

    All ranks must call it. Rank 0 extracts it, of a sharded model all ranks together; rank 0 alone writes.

    Args:
        model: as it is before fine-tuning.
        tokenizer: its tokenizer.
        data: where the prompts come from.
        config: how many, filtered or not, checked or not.
        directory: of this model's direction: ``direction.safetensors``, ``direction.json``, ``prompts.json`` (hashes,
            no text) and ``causal.json``.
        model_fingerprint: identity of ``model``.
        say: told in a sentence what is being done.

    Raises:
        ModelError: the model's architecture is none that directions are defined for.
        DirectionError: too few prompts are left, there is no direction, or the saved one is of something else.
        DataError: a source cannot be read.
    """
    lock = FileLock(f"{directory}.lock")
    if rank() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        acquire(lock)
    try:

        def looked_for() -> tuple[DirectionPrompts, Extraction | None]:
            drawn = draw_prompts(data, config)
            saved = (directory / METADATA_FILE).exists()
            return drawn, _load(directory, tokenizer, drawn, config, model_fingerprint) if saved else None

        drawn, found = from_rank_zero(looked_for)
        if found is not None:
            return found
        return computed_together(
            model, lambda: _extract(model, tokenizer, drawn, config, directory, model_fingerprint, say)
        )
    finally:
        lock.release()


def _extract(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    drawn: DirectionPrompts,
    config: DirectionConfig,
    directory: Path,
    model_fingerprint: str,
    say: Callable[[str], None],
) -> Extraction:
    check_model(base_model(model))
    if config.causal is not None:
        residual_writers(model)  # ablation needs them: better refused now than after thousands of answers
    prompts = drawn
    if config.filter:
        say("generating answers to keep the prompts that are really refused or answered")
        prompts = filtered(model, tokenizer, drawn, config)
    harmful, harmless = prompts.harmful, prompts.harmless
    direction = replace(
        extract_direction(
            model, tokenizer, harmful.extraction, harmless.extraction, model_fingerprint=model_fingerprint
        ),
        dropped_harmful=harmful.dropped,
        dropped_harmless=harmless.dropped,
    )
    report = None
    if config.causal is not None:
        _check_held_out(prompts)
        say("checking that the direction causes refusal")
        report = check_direction(model, tokenizer, direction, harmful.held_out, harmless.held_out, config)
    if rank() == 0:
        if report is not None:
            save_report(report, directory)
        held = prompts.as_json() | {_RENDERED: _rendering(tokenizer, prompts)}
        (directory / PROMPTS_FILE).write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")
        direction.save(directory)  # last: its presence means that all is there
    return Extraction(direction, prompts, report)


def _load(
    directory: Path,
    tokenizer: PreTrainedTokenizerBase,
    drawn: DirectionPrompts,
    config: DirectionConfig,
    model_fingerprint: str,
) -> Extraction:
    direction = Direction.load(directory, expected_model=model_fingerprint)
    try:
        saved = json.loads((directory / PROMPTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DirectionError(
            f"{directory / PROMPTS_FILE} cannot be read ({error}): extract the direction again"
        ) from error
    prompts = drawn.restored(saved)
    if saved.get(_RENDERED, rendered := _rendering(tokenizer, prompts)) != rendered:
        raise DirectionError(
            "the chat template or its arguments (chat_template_kwargs) changed since the direction was extracted: "
            "write into another folder, or remove the saved direction"
        )
    report = None
    if config.causal is not None:
        report = load_report(directory, expected_direction=direction.fingerprint)
    return Extraction(direction, prompts, report)


def _rendering(tokenizer: PreTrainedTokenizerBase, prompts: DirectionPrompts) -> str:
    """A hash of how the chat template writes prompts; folders of older versions do not have it."""
    first = [*prompts.harmful.extraction[:1], *prompts.harmless.extraction[:1]]
    return hashlib.sha256(json.dumps(encode_prompts(tokenizer, first)).encode()).hexdigest()[:16]


def _check_held_out(prompts: DirectionPrompts) -> None:
    for side, drawn in (("harmful", prompts.harmful), ("harmless", prompts.harmless)):
        if not drawn.held_out:
            raise DirectionError(
                f"data.{side} has no train prompts left to check the direction on: add prompts, lower "
                "direction.prompts, or set direction.causal=null"
            )
