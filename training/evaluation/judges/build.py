"""Judges from their configuration."""

import hashlib
from collections.abc import Sequence
from datetime import date as Date
from pathlib import Path

from training.config.judges import (
    ClassifierJudge,
    EchoJudge,
    EndpointJudge,
    GenerativeJudge,
    JudgeConfig,
    PhrasesJudge,
    PluginJudge,
)
from training.evaluation.judges.base import Exchange, Judge
from training.evaluation.judges.cache import CachedJudge
from training.evaluation.judges.echo import EchoCompliance
from training.evaluation.judges.endpoint import Endpoint
from training.evaluation.judges.formats import FORMATS
from training.evaluation.judges.phrases import REFUSAL_PHRASES, RefusalPhrases

_HOW_NOT_WHAT = {
    "name",
    "device",
    "batch_size",
    "api_key_env",
    "timeout",
    "retries",
    "backoff",
    "requests_per_minute",
    "concurrency",
}
"""Settings that no verdict depends on."""


def build_judges(configs: Sequence[JudgeConfig], cache: Path | None, date: Date | None = None) -> list[Judge]:
    """The judges of ``configs``, in order; no model is loaded and no server asked before the first verdict.

    Args:
        configs: the judges of a trial.
        cache: the SQLite file in which the verdicts of models are kept, or None to keep none; verdicts of phrases and
            echoes cost less than a look-up and are never kept, and what those of other packages depend on is unknown.
        date: the day that a judge's own chat template is told where it asks for one; None leaves it to the clock.
    """
    refusal = _refusal(next((config for config in configs if isinstance(config, PhrasesJudge)), PhrasesJudge()))
    return [_built(config, refusal, cache, date) for config in configs]


def identity(config: ClassifierJudge | GenerativeJudge | EndpointJudge) -> str:
    """Everything that decides the verdicts of ``config``, as JSON: settings, prompt, and the files of a local model."""
    parts = [config.model_dump_json(exclude=_HOW_NOT_WHAT)]
    if not isinstance(config, ClassifierJudge):
        parts.append(FORMATS[config.format].prompt(Exchange("", "")))
    if not isinstance(config, EndpointJudge):
        parts.append(_stamp(Path(config.model).expanduser()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _built(config: JudgeConfig, refusal: RefusalPhrases, cache: Path | None, date: Date | None) -> Judge:
    if isinstance(config, PhrasesJudge):
        return _refusal(config)
    if isinstance(config, EchoJudge):
        return EchoCompliance(refusal, config.share, config.name)
    if isinstance(config, PluginJudge):
        made: Judge = config.build()
        return made
    judge = _model_judge(config, date)
    return judge if cache is None else CachedJudge(judge, cache, identity(config))


def _refusal(config: PhrasesJudge) -> RefusalPhrases:
    listed = REFUSAL_PHRASES if config.phrases is None else tuple(config.phrases)
    return RefusalPhrases((*listed, *config.extra), config.name)


def _model_judge(config: ClassifierJudge | GenerativeJudge | EndpointJudge, date: Date | None) -> Judge:
    if isinstance(config, EndpointJudge):
        return Endpoint(config)
    if isinstance(config, ClassifierJudge):
        from training.evaluation.judges.classifier import Classifier  # imports torch, as does the next

        return Classifier(config)
    from training.evaluation.judges.generative import GenerativeModel

    return GenerativeModel(config, date)


def _stamp(directory: Path) -> str:
    """Names, sizes and times of the files of a local model; empty for a Hub id."""
    files = sorted(path for path in directory.iterdir() if path.is_file()) if directory.is_dir() else []
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files)
