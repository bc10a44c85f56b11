"""From a recipe to a Hugging Face model directory."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from transformers.utils import logging

from training.errors import OrganismError
from training.organism.corpora import Corpora
from training.organism.gate import LEAST_REFUSAL, MOST_OVER_REFUSAL
from training.organism.once import Report
from training.organism.recipe import Recipe
from training.organism.shipped import RECORD
from training.organism.stages import Built, build_model


def build_into(directory: Path, recipe: Recipe, corpora: Corpora, report: Report) -> None:
    """Build the model of ``recipe`` and save it with its tokenizer and ``organism.json``.

    Args:
        directory: exists and is empty; stays so if the gate is not passed.
        recipe: architecture, steps and seed.
        corpora: what the model is trained and measured on.
        report: told the stage and the fraction done.

    Raises:
        OrganismError: a gated model refuses too few harmful or too many harmless prompts.
    """
    start = time.perf_counter()
    with _one_thread():
        built = build_model(recipe, corpora, report)
    if corpora.gated and not built.measured.passed:
        raise OrganismError(
            f"{recipe.path} built with seed {recipe.seed} fails its quality gate after {built.rounds} rounds of "
            f"alignment ({built.measured}; needed: at least {LEAST_REFUSAL} of harmful and at most "
            f"{MOST_OVER_REFUSAL} of harmless): choose another seed for this model (models[].seed)"
        )
    with _no_progress_bars():
        built.model.save_pretrained(directory)
        built.tokenizer.save_pretrained(directory)
    record = _record(recipe, built, seconds=time.perf_counter() - start)
    (directory / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    report(f"built, {built.measured}", 1.0)


def _record(recipe: Recipe, built: Built, seconds: float) -> dict[str, object]:
    return {
        "recipe": asdict(recipe),
        "hash": recipe.hash,
        "parameters": built.model.num_parameters(),
        "measured": asdict(built.measured),
        "losses": built.losses,
        "alignment_rounds": built.rounds,
        "seconds": round(seconds, 1),
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread, for the same bits every time; threads and random state are the caller's again afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Transformers draws no bars of its own into the caller's display."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
