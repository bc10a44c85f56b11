"""How the models of a slot are measured: who answers, who judges, and what else is asked."""

import time
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.config import EvaluationConfig
from training.direction.drift import DriftReference
from training.evaluation.generators import build_generator
from training.evaluation.generators.vllm import Save
from training.evaluation.judges import build_judges
from training.evaluation.lm_eval import lm_eval_errors, lm_eval_metrics
from training.evaluation.measure import Measurement, measure, measure_without_generation
from training.evaluation.plugin_metrics import load_metrics
from training.evaluation.scores import Scores
from training.evaluation.sets import EvaluationSets
from training.loop.train import Rungs, StepReport


class Measuring:
    """Measurements of one model and what it is tuned to, by all ranks; each makes one and calls the same methods.

    Judges, metrics and the generator are made at once, so that those that cannot be had are told before anything is
    loaded; tokenizer, sets and drift arrive with :meth:`prepare`.
    """

    def __init__(
        self, evaluation: EvaluationConfig, verdicts: Path, day: date | None, served: Path, save: Save
    ) -> None:
        """Make what measures.

        Args:
            evaluation: who judges and answers, and metrics of other packages.
            verdicts: file of what judges said.
            day: that their prompts are of; None leaves it to the clock.
            served: folder of adapters that a generator is given.
            save: writes the adapters of a model there; all ranks call it.
        """
        self.judges = build_judges(evaluation.judges, verdicts, day)
        self.metrics = load_metrics(evaluation.metrics)
        self.generator = build_generator(evaluation.generator, served, save)

    def prepare(
        self,
        evaluation: EvaluationConfig,
        tokenizer: PreTrainedTokenizerBase,
        sets: EvaluationSets,
        drift: DriftReference,
    ) -> None:
        """Remember what is measured on, and which tasks of lm-eval ``evaluation`` names."""
        self._lm_eval, self._tokenizer, self._sets, self._drift = evaluation.lm_eval, tokenizer, sets, drift

    def check_generator(self, model: PreTrainedModel, fingerprint: str) -> None:
        """Refuse, before anything is trained, a server that would answer with another model than ``model``."""
        if self.generator is not None:
            prompts = [ids for one in self._sets.all for ids in one.token_ids]
            self.generator.check(model, self._tokenizer, prompts, self._sets.max_new_tokens, fingerprint)

    def of(self, model: nn.Module) -> Measurement:
        """Everything that is measured of ``model``; the same on each rank, but for the seconds it took."""
        begin = time.perf_counter()
        found = measure(model, self._tokenizer, self._sets, self._drift.of, self.judges, self.metrics, self.generator)
        if self._lm_eval is not None:
            scores = lm_eval_metrics(model, self._tokenizer, self._lm_eval)
            found = found.with_unsplit(Scores(scores, errors=lm_eval_errors(scores)))
        return replace(found, seconds=time.perf_counter() - begin)

    def without_generation(self, model: nn.Module) -> Scores:
        """What forward passes alone tell of ``model``, on the select prompts; the same on each rank."""
        return measure_without_generation(model, self._tokenizer, self._sets, self._drift.of)

    def rungs(self, steps: Collection[int]) -> Rungs:
        """Measurement without generation after ``steps`` optimizer steps."""

        def measure_rung(model: nn.Module, step: int) -> StepReport:
            return StepReport(step, self.without_generation(model), rung=True)

        return Rungs(frozenset(steps), measure_rung)
