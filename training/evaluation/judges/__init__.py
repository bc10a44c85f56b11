"""Judges: whether an answer refuses, and whether it complies with what was asked."""

from training.evaluation.judges.agreement import as_complied, cohens_kappa
from training.evaluation.judges.base import Exchange, Judge, Verdict
from training.evaluation.judges.build import build_judges
from training.evaluation.judges.cache import CachedJudge
from training.evaluation.judges.check import check_judges
from training.evaluation.judges.echo import EchoCompliance, content_words
from training.evaluation.judges.phrases import REFUSAL_PHRASES, RefusalPhrases, first_sentence, normalised

__all__ = [
    "REFUSAL_PHRASES",
    "CachedJudge",
    "EchoCompliance",
    "Exchange",
    "Judge",
    "RefusalPhrases",
    "Verdict",
    "as_complied",
    "build_judges",
    "check_judges",
    "cohens_kappa",
    "content_words",
    "first_sentence",
    "normalised",
]
