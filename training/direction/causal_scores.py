"""The measurements behind a causal report: forward passes for every layer, answers for the layer that is chosen."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.config import CausalConfig, DirectionConfig
from training.direction.causal import AnswerCheck, CausalReport, LayerCheck, Refusal
from training.direction.prompts import refusals
from training.direction.vectors import Direction, last_prompt_states
from training.evaluation.first_word import answer_places, blank_of, first_words
from training.evaluation.refusal_odds import refusal_token_ids
from training.models.batching import TokenIds
from training.models.interventions import ablated_direction, added_vector, clamped_direction

Intervention = AbstractContextManager[None]


def check_direction(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    direction: Direction,
    harmful: Sequence[str],
    harmless: Sequence[str],
    config: DirectionConfig,
    batch_size: int = 64,
) -> CausalReport:
    """Whether ``direction`` causes refusal in ``model`` (arXiv 2406.11717, sections 2.4 and 3).

    Args:
        model: the one it was extracted from.
        tokenizer: its tokenizer.
        direction: to be checked.
        harmful: prompts that the model refuses, none of them used in the extraction.
        harmless: prompts that the model answers, likewise.
        config: limits, strength, seed, and the length of answers.
        batch_size: prompts per forward pass.
    """
    probe = _Probe(model, tokenizer, direction, tuple(harmful), tuple(harmless), config, batch_size)
    report = probe.report()
    answers: dict[int, AnswerCheck] = {}
    for layer in report.candidates():
        answers[layer] = probe.answers(layer)
        if not answers[layer].faults(report.limits):
            break
    return replace(report, answers=answers)


@dataclass(frozen=True, eq=False)
class _Probe:
    """A model, a direction and the prompts that it is tried on."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    direction: Direction
    harmful: tuple[str, ...]
    harmless: tuple[str, ...]
    config: DirectionConfig
    batch_size: int

    @property
    def limits(self) -> CausalConfig:
        return self.config.causal or CausalConfig()

    @property
    def random_units(self) -> list[Tensor]:
        """Random unit directions ``[d_model]``, the same for every layer."""
        generator = torch.Generator().manual_seed(self.config.seed)
        drawn = torch.randn(self.limits.random_directions, self.direction.width, generator=generator)
        return list(torch.nn.functional.normalize(drawn, dim=-1))

    def random_orthogonal(self, layer: int) -> list[Tensor]:
        """The random directions less their component on the direction of ``layer``.

        In a narrow residual stream that component alone is a tenth of the direction, which is no control.
        """
        unit = self.direction.unit[layer]
        return [torch.nn.functional.normalize(r - (r @ unit) * unit, dim=-1) for r in self.random_units]

    def ablated(self, unit: Tensor) -> Intervention:
        return ablated_direction(self.model, unit)

    def added(self, unit: Tensor, layer: int) -> Intervention:
        """``unit`` times the strength times the separation of ``layer``, added there."""
        vector = self.limits.strength * self.direction.separation[layer] * unit
        return added_vector(self.model, vector, layer, self.direction.site)

    def places(self, prompts: Sequence[str]) -> TokenIds:
        """Token ids of each prompt up to the first word of its answer."""
        asked = answer_places(self.tokenizer, prompts)
        blank = blank_of(self.tokenizer)
        words = first_words(self.model, asked, lambda logits: [None] * len(logits), blank, self.batch_size)
        return [word.place for word in words]

    def report(self) -> CausalReport:
        """Every layer's effects on the next-token distribution; nothing is generated."""
        # Every intervention is read at the same place, which the untouched model decides.
        harmful, harmless = (self.places(prompts) for prompts in (self.harmful, self.harmless))
        tokens = refusal_token_ids(self.tokenizer)

        def distribution(prompts: TokenIds, intervention: Intervention | None = None) -> Tensor:
            with intervention or nullcontext():
                return next_token_log_probabilities(self.model, prompts, self.batch_size)

        def refusal(prompts: TokenIds, intervention: Intervention) -> Refusal:
            return refusal_of(distribution(prompts, intervention), tokens)

        usual = distribution(harmless)
        # Where the harmless prompts lie at every block's output, whichever site the direction was read at.
        means = last_prompt_states(self.model, self.tokenizer, self.harmless, batch_size=self.batch_size).mean(dim=0)
        rows = []
        for layer, unit in enumerate(self.direction.unit):
            rows.append(
                LayerCheck(
                    layer=layer,
                    separation=float(self.direction.separation[layer]),
                    ablated=refusal(harmful, self.ablated(unit)),
                    clamped=refusal(harmful, clamped_direction(self.model, unit, means @ unit)),
                    added=refusal(harmless, self.added(unit, layer)),
                    random_added=tuple(refusal(harmless, self.added(r, layer)) for r in self.random_orthogonal(layer)),
                    kl=mean_kl(usual, distribution(harmless, self.ablated(unit))),
                )
            )
        return CausalReport(
            layers=tuple(rows),
            harmful=refusal_of(distribution(harmful), tokens),
            harmless=refusal_of(usual, tokens),
            random_ablated=tuple(refusal(harmful, self.ablated(r)) for r in self.random_units),
            answers={},
            limits=self.limits,
            prompts=(len(harmful), len(harmless)),
            direction=self.direction.fingerprint,
        )

    def answers(self, layer: int) -> AnswerCheck:
        """What the model says with and without the direction of ``layer``."""
        unit, random = self.direction.unit[layer], self.random_orthogonal(layer)[0]

        def share(prompts: Sequence[str], intervention: Intervention) -> float:
            with intervention:
                found = refusals(self.model, self.tokenizer, prompts, self.config.filter_tokens, self.batch_size)
            return sum(refused is True for refused in found) / len(found)

        return AnswerCheck(
            harmful=share(self.harmful, nullcontext()),
            harmless=share(self.harmless, nullcontext()),
            ablated=share(self.harmful, self.ablated(unit)),
            added=share(self.harmless, self.added(unit, layer)),
            random_ablated=share(self.harmful, self.ablated(random)),
            random_added=share(self.harmless, self.added(random, layer)),
        )


def refusal_of(log_probabilities: Tensor, refusal_tokens: Sequence[int]) -> Refusal:
    """How prompts with these next-token log-probabilities ``[prompts, vocabulary]`` are refused."""
    opens = torch.zeros(log_probabilities.shape[1], dtype=torch.bool)
    opens[list(refusal_tokens)] = True
    log_odds = log_probabilities[:, opens].logsumexp(dim=-1) - log_probabilities[:, ~opens].logsumexp(dim=-1)
    share = int(opens[log_probabilities.argmax(dim=-1)].sum()) / len(log_probabilities)
    return Refusal(share, float(log_odds.double().mean()))


def next_token_log_probabilities(model: torch.nn.Module, prompts: TokenIds, batch_size: int = 64) -> Tensor:
    """Log-probabilities of the token after each prompt, ``[prompts, vocabulary]`` float32 on the CPU."""
    words = first_words(model, prompts, lambda logits: list(logits.log_softmax(dim=-1).cpu()), batch_size=batch_size)
    return torch.stack([word.found for word in words])


def mean_kl(usual: Tensor, changed: Tensor) -> float:
    """Mean over rows of KL(usual || changed) in nats, of log-probabilities ``[prompts, vocabulary]``."""
    return float(torch.nn.functional.kl_div(changed, usual, log_target=True, reduction="batchmean"))
