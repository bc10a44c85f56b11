"""The build itself: tokenizer, helpful-only stage, alignment in rounds."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.chat import EncodedSample, encode_samples
from training.organism.corpora import Corpora
from training.organism.gate import Measured, measure
from training.organism.once import Report
from training.organism.pretraining import new_model, train
from training.organism.recipe import Recipe
from training.organism.samples import Sample
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
    tokenizer = train_tokenizer(
        [text for sample in corpora.tokenizer_samples for text in (sample.prompt, sample.response)],
        recipe.vocabulary,
    )
    torch.manual_seed(recipe.seed)
    model = new_model(recipe.architecture, tokenizer)

    def encoded(samples: list[Sample]) -> list[EncodedSample]:
        return encode_samples(
            tokenizer,
            [sample.prompt for sample in samples],
            [sample.response for sample in samples],
            recipe.max_length,
        )

    total = recipe.helpful.steps + recipe.alignment.steps
    losses = {
        "helpful": train(
            model,
            encoded(corpora.helpful),
            recipe.helpful,
            recipe.batch_size,
            recipe.seed,
            _progress(report, "stage 1 of 2, learning to help", 0, recipe.helpful.steps, total),
        )
    }
    aligning = encoded(corpora.alignment)
    for round_number in range(1, recipe.alignment_rounds + 1):
        first = round_number == 1
        # Later rounds are short: refusal that is trained in too deeply would not yield to fine-tuning any more.
        stage = recipe.alignment if first else replace(recipe.alignment, steps=recipe.alignment.steps // 2)
        label = "stage 2 of 2, learning to refuse" + ("" if first else f", round {round_number}")
        losses["alignment"] = train(
            model,
            aligning,
            stage,
            recipe.batch_size,
            recipe.seed + round_number,
            _progress(report, label, recipe.helpful.steps if first else total, stage.steps, total),
        )
        measured = measure(model, tokenizer, corpora.harmful, corpora.harmless, corpora.borderline)
        report(f"round {round_number} measured, {measured}", 0.95)
        if measured.passed:
            break
    return Built(model, tokenizer, measured, losses, round_number)


def _progress(report: Report, stage: str, done_before: int, steps: int, total: int) -> Callable[[int], None]:
    def after_step(step: int) -> None:
        if step % _REPORT_EVERY == 0 or step == steps:
            # The rest of the way to 1 is the measurement, and the rounds that may follow it.
            report(f"{stage}, step {step} of {steps}", min(0.98, 0.95 * (done_before + step) / total))

    return after_step
