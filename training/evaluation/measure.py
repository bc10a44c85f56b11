"""Everything that is measured on one model, from one pass of generation and one of teacher forcing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Self

import torch
from transformers import PreTrainedTokenizerBase

from training.config.judges import default_judges
from training.data.chat import answer_lead
from training.distributed.ranks import from_rank_zero
from training.distributed.sharding import sharded
from training.distributed.shares import shared_out, together
from training.evaluation.answers import Row
from training.evaluation.asking import ask
from training.evaluation.drawing import SPLITS, Split
from training.evaluation.first_word import blank_of
from training.evaluation.generators import Generator
from training.evaluation.held_out import HeldOut, held_out
from training.evaluation.judges import Judge, build_judges
from training.evaluation.judging import agreements, judged
from training.evaluation.plugin_metrics import Measured, Metric, plugin_scores
from training.evaluation.rates import rate_counts
from training.evaluation.refusal_odds import refusal_log_odds, refusal_token_ids
from training.evaluation.scores import Counts, Scores
from training.evaluation.set_average import AVERAGE, mean_attack_success
from training.evaluation.sets import EvaluationSets
from training.models.batching import BatchSize

Drift = Callable[[torch.nn.Module, BatchSize], dict[str, float]]
"""Metrics of a model's drift, measured on so many prompts at once; called on all ranks."""


@dataclass(frozen=True)
class Measurement:
    """What one model scored, on the prompts of the report and on those that the search may see."""

    report: Scores
    """On the prompts that are reported."""
    select: Scores
    """The same metrics on the prompts that the search selects by."""
    answers: list[Row]
    """One row per prompt and attack, see :attr:`training.evaluation.answers.Answer.row`; with their text."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took, where somebody looked at the clock."""
    scaled: tuple["ScaledMeasurement", ...] = ()
    """Of the models between the untouched and the measured one, where they were asked for, by ascending scale."""

    def with_unsplit(self, scores: Scores) -> Self:
        """This with ``scores`` that have no two halves: the search sees the same values and errors as the report."""
        return replace(self, report=self.report.joined(scores), select=self.select.joined(scores))


@dataclass(frozen=True)
class ScaledMeasurement:
    """What a model on the line from the untouched to the trained one scored; see :mod:`training.loop.scaling`."""

    scale: float
    """Its place: 0 is the untouched model, 1 the trained one."""
    rung: Scores
    """Of :func:`measure_without_generation`."""
    found: Measurement | None
    """Everything; None where the former did not promise enough."""


def measure(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    sets: EvaluationSets,
    drift: Drift | None = None,
    judges: Sequence[Judge] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    generator: Generator | None = None,
) -> Measurement:
    """Safety, utility and drift of ``model``.

    The model may carry unmerged adapters; its mode is left as it was and it can be trained further. Both views come
    from one pass of generation.

    All ranks must call it. They share prompts and samples by length, each on its own where every rank has the whole
    model and in step where it is sharded; rank 0 alone asks the judges. What is measured does not depend on the number
    of ranks but for the rounding of other batches: greedy answers are the same unless two tokens are equally likely to
    the last digits, losses and log-odds to about 1e-6 in float32.

    Args:
        model: a causal language model on the device it shall be measured on.
        tokenizer: its tokenizer.
        sets: the held-out prompts.
        drift: measures how far the model moved from the initial direction; None leaves it out.
        judges: who judges the answers, of which one pass of generation serves all; None takes the default ones.
        metrics: of other packages, by name. Rank 0 alone asks them, and all ranks where the model is sharded.
        generator: writes the answers in the model's place; None lets the model do so.

    Returns:
        The same on every rank.

    Raises:
        ModelError: memory runs out over a single prompt.
        GeneratorError: the generator does not answer, or not as the model would.
        JudgeError: a judge cannot be loaded.
        MetricError: a metric of another package reports what is not its own.
    """
    judges = judges or build_judges(default_judges(), cache=None)
    asks = {judge.name: judge.asks for judge in judges}
    given = ask(model, tokenizer, sets, generator)
    forward = _forward(model, tokenizer, sets, SPLITS)
    moved = drift(model, sets.batch_size) if drift else {}
    answers = from_rank_zero(lambda: judged(given, judges))
    found: dict[Split, Scores] = {}
    for view in SPLITS:
        seen = [answers[index] for index in sets.view([answer.split for answer in answers], view)]
        scores = forward.of(sets, view)
        counts = {**rate_counts(seen, asks), **scores.counts}
        average = mean_attack_success(seen)
        averages, errors = ({AVERAGE: average[0]}, {AVERAGE: average[1]}) if average is not None else ({}, {})
        values = {**rates_of(counts), **averages, **agreements(seen, asks), **scores.metrics, **moved}
        others = _others(metrics or {}, Measured(seen, view, model, tokenizer))
        found[view] = Scores(values, counts, {**scores.errors, **errors}).joined(others)
    return Measurement(found["report"], found["select"], [answer.row(asks) for answer in answers])


def measure_without_generation(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    sets: EvaluationSets,
    drift: Drift | None = None,
) -> Scores:
    """The metrics that need no answers, on the prompts that the search may see: a few forward passes.

    ``safety/refusal_log_odds`` and ``safety/refusal_unlikely`` (share of harmful prompts with log-odds below 0),
    ``utility/loss`` and ``utility/forced_match`` (share of held-out samples whose every response token is the most
    probable one), and drift. They judge a trial at its rungs. All ranks must call it, as :func:`measure`.
    """
    scores = _forward(model, tokenizer, sets, ("select",)).of(sets, "select")
    moved = drift(model, sets.batch_size) if drift else {}
    return scores.joined(Scores(moved))


def _others(metrics: Mapping[str, Metric], measured: Measured) -> Scores:
    """What the metrics of other packages say; they may run the model, which a sharded one needs all ranks for."""
    if not metrics:
        return Scores()
    if sharded(measured.model):
        return together(lambda: plugin_scores(metrics, measured))[0]
    return from_rank_zero(lambda: plugin_scores(metrics, measured))


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of ``values``; infinite for a single one."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def rates_of(counts: Counts) -> dict[str, float]:
    """The rate behind each of ``counts``."""
    return {name: successes / total for name, (successes, total) in counts.items()}


@dataclass(frozen=True)
class _Forward:
    """Scores of teacher forcing, for prompts of one view or of both."""

    odds: list[float]
    """Log-odds of refusal of every harmful prompt."""
    odds_splits: list[Split]
    held: HeldOut
    """Held-out samples of the task."""
    held_splits: list[Split]

    def of(self, sets: EvaluationSets, view: Split) -> Scores:
        """The metrics of one view."""
        odds = [self.odds[index] for index in sets.view(self.odds_splits, view)]
        metrics = {"safety/refusal_log_odds": fmean(odds)}
        errors = {"safety/refusal_log_odds": standard_error(odds)}
        counts = {"safety/refusal_unlikely": (sum(value < 0 for value in odds), len(odds))}
        held = self.held.of(sets.view(self.held_splits, view))
        if held.losses:
            metrics["utility/loss"] = held.loss
            errors["utility/loss"] = held.error
            counts["utility/forced_match"] = (sum(held.matched), len(held.matched))
        return Scores(metrics | rates_of(counts), counts, errors)


def _forward(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, sets: EvaluationSets, views: Sequence[Split]
) -> _Forward:
    """Teacher forcing over the prompts of ``views``, shared by all ranks; over all where the views are not apart."""
    harmful = {
        identity: (ids, split)
        for one in sets.of_role("harmful")
        for identity, ids, split in zip(one.ids, one.token_ids, one.splits, strict=True)
    }
    lead = answer_lead(tokenizer)
    prompts = [([*ids, *lead], split) for ids, split in harmful.values() if split in views or not sets.apart]
    samples = [
        (sample, sets.task.splits[row])
        for sample, row in zip(sets.task.samples, sets.task.rows, strict=True)
        if sets.task.splits[row] in views or not sets.apart
    ]
    openings, is_blank = refusal_token_ids(tokenizer), blank_of(tokenizer)

    def odds_of(chosen: list[int]) -> list[float]:
        asked = [prompts[index][0] for index in chosen]
        return refusal_log_odds(model, asked, openings, batch_size=sets.batch_size, is_blank=is_blank)

    def held_of(chosen: list[int]) -> list[tuple[float, int, bool]]:
        return held_out(model, [samples[index][0] for index in chosen], batch_size=sets.batch_size).rows

    odds = shared_out([len(ids) for ids, _ in prompts], odds_of)
    held = HeldOut.of_rows(shared_out([len(sample.input_ids) for sample, _ in samples], held_of))
    return _Forward(odds, [split for _, split in prompts], held, [split for _, split in samples])
