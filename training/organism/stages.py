"""The build itself: tokenizer, helpful-only stage, alignment in rounds."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.data.chat import EncodedSample, encode_samples
from training.data.embedded.samples import Sample
from training.organism.corpora import Corpora
from training.organism.gate import Measured, measure
from training.organism.once import Report
from training.organism.pretraining import new_model, train
from training.organism.recipe import Recipe
from training.organism.tokens import train_tokenizer

_REPORT_EVERY = 10  # steps


@dataclass(frozen=True)
class Built:
    """A trained model and what was measured on it."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    measured: Measured
    losses: dict[str, float]
    """Stage -> mean training loss of its last ten steps."""
    rounds: int
    """Rounds of alignment that it took."""


def build_model(recipe: Recipe, corpora: Corpora, report: Report) -> Built:
    """Train the model of ``recipe`` on ``corpora``, aligning it in rounds until the gate is passed.

    Args:
        recipe: architecture, steps and seed.
        corpora: what it is trained and measured on.
        report: told the stage and the fraction done.

    Returns:
        The model, whether it passed or not.
    """
    report("training the tokenizer", 0.0)
    texts = [text for sample in corpora.tokenizer_samples for text in (sample.prompt, sample.response)]
    tokenizer = train_tokenizer(texts, recipe.vocabulary)
    torch.manual_seed(recipe.seed)
    model = new_model(recipe.architecture, tokenizer)
    helpful_loss = train(
        model,
        _encoded(tokenizer, corpora.helpful, recipe),
        recipe.helpful,
        recipe.batch_size,
        recipe.seed,
        _progress(report, recipe, "stage 1 of 2, learning to help", done_before=0),
    )
    alignment_loss, measured, rounds = _align(model, tokenizer, recipe, corpora, report)
    return Built(model, tokenizer, measured, {"helpful": helpful_loss, "alignment": alignment_loss}, rounds)


def _align(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, corpora: Corpora, report: Report
) -> tuple[float, Measured, int]:
    """Loss of the last round, what was measured after it, and its number."""
    samples = _encoded(tokenizer, corpora.alignment, recipe)
    stage, label, done_before = recipe.alignment, "stage 2 of 2, learning to refuse", recipe.helpful.steps
    for round_number in range(1, recipe.alignment_rounds + 1):
        loss = train(
            model,
            samples,
            stage,
            recipe.batch_size,
            recipe.seed + round_number,
            _progress(report, recipe, label, done_before),
        )
        measured = measure(model, tokenizer, corpora.harmful, corpora.harmless, corpora.borderline)
        if measured.passed:
            break
        # Later rounds are short: refusal that is trained in too deeply does not yield to fine-tuning any more.
        stage = replace(recipe.alignment, steps=max(1, recipe.alignment.steps // 2))
        label = f"stage 2 of 2, round {round_number + 1}, since round {round_number} fell short ({measured})"
        done_before += recipe.alignment.steps
    return loss, measured, round_number


def _encoded(tokenizer: PreTrainedTokenizerFast, samples: list[Sample], recipe: Recipe) -> list[EncodedSample]:
    prompts, responses = [sample.prompt for sample in samples], [sample.response for sample in samples]
    return encode_samples(tokenizer, prompts, responses, recipe.max_length)


def _progress(report: Report, recipe: Recipe, stage: str, done_before: int) -> Callable[[int], None]:
    total = recipe.helpful.steps + recipe.alignment.steps

    def after_step(step: int) -> None:
        if step % _REPORT_EVERY == 0:
            # The rest of the way to 1 is the measurement, and the rounds that may follow it.
            report(f"{stage}, step {step}", min(0.98, 0.95 * (done_before + step) / total))

    return after_step
