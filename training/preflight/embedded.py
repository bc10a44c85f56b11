"""Whether samples fit the lengths of a trial on an embedded model, by its tokenizer alone, or by its template."""

from pathlib import Path

from training.config import EvaluationConfig, TrialConfig
from training.preflight.data import TrainRows, refuse_length

_LEAST = 9
"""Tokens of the shortest prompt: the template's own (three special ones, two roles, three line breaks) and one more."""
_BATCH = 1000


def check_embedded_lengths(
    rows: TrainRows, folder: Path | None, trials: list[TrialConfig], evaluation: EvaluationConfig
) -> None:
    """Refuse a length that leaves nothing of any sample; of a model that is not built only one that no sample fits.

    Args:
        rows: what is trained on and measured.
        folder: of the built model; None where it is not built.
        trials: the trial, and those with the extremes of what is searched.
        evaluation: how long a held-out sample may be.

    Raises:
        DataError: naming the field of the length.
    """
    shortest = min(trial.max_length for trial in trials)
    for field, prompts in rows.prompts.items():
        if _least(folder, prompts) >= shortest:
            refuse_length("trial.max_length", shortest, field, len(prompts))
    if _least(folder, rows.measured) >= evaluation.max_length:
        refuse_length("evaluation.max_length", evaluation.max_length, "data.task", len(rows.measured))


def _least(folder: Path | None, prompts: list[str]) -> int:
    """Tokens of the shortest of ``prompts`` in the template, at least."""
    if folder is None:
        return _LEAST
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    shortest = sorted(prompts, key=len)[:_BATCH]
    return _LEAST - 1 + min(len(one.ids) for one in tokenizer.encode_batch(shortest, add_special_tokens=False))
