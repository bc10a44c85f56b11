"""Whether a generator can be asked, found out before anything is trained."""

import os
from collections.abc import Sequence
from pathlib import Path

from training.config import AdapterTuning, EvaluationConfig, FullTuning, ModelConfig, TrialConfig
from training.config.generator import Generator, VllmGenerator
from training.errors import GeneratorError
from training.evaluation.generators.vllm_server import VllmServer

_PATIENCE = 10.0
"""Seconds that a server is waited for at most."""


def check_generator(evaluation: EvaluationConfig, models: Sequence[ModelConfig], trials: Sequence[TrialConfig]) -> None:
    """Refuse a generator that could not answer: by the specification, by its folder, and by asking the server.

    Args:
        evaluation: names the generator.
        models: of the sweep.
        trials: the trial, and those with the extremes of what is searched.

    Raises:
        GeneratorError: naming the field, its value and what to do.
    """
    config = evaluation.generator
    if not isinstance(config, VllmGenerator):
        return
    for trial in trials:
        refuse_tuning(config, trial)
    embedded = next((model for model in models if model.embedded), None)
    if embedded is not None:
        raise GeneratorError(
            f"evaluation.generator.type (vllm) cannot serve the embedded model {embedded.path}, whose attention heads "
            "are smaller than any that vLLM has a kernel for: write transformers"
        )
    if len(models) > 1:
        raise GeneratorError(
            f"evaluation.generator.endpoint ({config.endpoint}) is a server of one base model, and models has "
            f"{', '.join(model.name for model in models)}: make a sweep of each"
        )
    if config.adapter_dir is not None and not os.access(config.adapter_dir, os.W_OK | os.X_OK):
        fault = "cannot be written" if Path(config.adapter_dir).is_dir() else "is not there"
        raise GeneratorError(
            f"evaluation.generator.adapter_dir ({config.adapter_dir}) {fault}: make a folder that workers and server "
            "have under this path"
        )
    _check_server(config, evaluation)


def refuse_tuning(config: Generator, trial: TrialConfig) -> None:
    """Refuse a trial whose weights no server could be lent: whole ones, and adapters of a kind that vLLM lacks.

    Raises:
        GeneratorError: naming the field.
    """
    if isinstance(config, VllmGenerator) and isinstance(trial.tuning, FullTuning):
        raise GeneratorError(
            "evaluation.generator.type (vllm) serves adapters, and trial.tuning.type (full) trains none: write "
            "transformers, or tune with lora"
        )
    if isinstance(config, VllmGenerator) and isinstance(trial.tuning, AdapterTuning) and trial.tuning.use_dora:
        raise GeneratorError(
            "evaluation.generator.type (vllm) does not serve DoRA, and trial.tuning.use_dora is true: write "
            "transformers, or leave it out"
        )


def _check_server(config: VllmGenerator, evaluation: EvaluationConfig) -> None:
    server = VllmServer(config.model_copy(update={"retries": 0, "timeout": min(config.timeout, _PATIENCE)}))
    longest = server.base().get("max_model_len")
    needed = evaluation.max_length + evaluation.max_new_tokens + 1
    if isinstance(longest, int) and longest < needed:
        raise GeneratorError(
            f"{server.where} takes {longest} tokens at most, and evaluation.max_length ({evaluation.max_length}) with "
            f"max_new_tokens ({evaluation.max_new_tokens}) need {needed}: start it with --max-model-len {needed}, or "
            "lower them"
        )
    server.check_loading()
