"""What the model can do: accuracy of its answers and loss on held-out responses."""

import re
from collections.abc import Sequence

import torch
from torch.nn import functional

from training.chat import EncodedSample
from training.evaluation.batching import length_sorted_batches, measuring, pad
from training.evaluation.logits import logits_at
from training.models import base_model

_NUMBER = re.compile(
    r"(?:(?<![\w.])[-+])?"  # a sign, but not the minus of 10-3
    r"\$?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
)


def is_correct(answer: str, gold: str) -> bool:
    """Whether ``answer`` gives ``gold``.

    Where the gold answer is a number (``12``, or GSM8K's ``… #### 12``) the last number in the answer must equal it.
    Any other gold answer must be the whole answer, up to case, spacing and a full stop at the end.
    """
    wanted = _gold_number(gold)
    if wanted is not None:
        numbers = _NUMBER.findall(answer)
        return bool(numbers) and _value(numbers[-1]) == wanted
    return _normalised(answer) == _normalised(gold)


def _gold_number(gold: str) -> float | None:
    number = gold.rsplit("####", 1)[-1].strip()
    return _value(number) if _NUMBER.fullmatch(number) else None


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("$", ""))


def _normalised(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".").rstrip()


def accuracy_counts(correct: Sequence[bool], families: Sequence[str | None]) -> dict[str, tuple[int, int]]:
    """Successes and totals of ``utility/accuracy``, over all samples and for each family that is named."""
    counts = {"utility/accuracy": (sum(correct), len(correct))}
    for family in sorted({family for family in families if family}):
        hits = [hit for hit, of in zip(correct, families, strict=True) if of == family]
        counts[f"utility/accuracy/{family}"] = (sum(hits), len(hits))
    return counts


def held_out_loss(model: torch.nn.Module, samples: Sequence[EncodedSample], *, batch_size: int = 64) -> float:
    """Mean cross-entropy over all response tokens of all samples, in nats per token (training's own average)."""
    base = base_model(model)
    total, tokens = 0.0, 0
    with measuring(base):
        for batch in length_sorted_batches([sample.input_ids for sample in samples], batch_size):
            chosen = [samples[index] for index in batch]
            ids, mask = pad([sample.input_ids for sample in chosen], padding_id=0, side="right", device=base.device)
            starts = torch.tensor([sample.response_start for sample in chosen], device=base.device)
            place = torch.arange(ids.shape[1], device=base.device)
            response = (place >= starts[:, None]) & mask.bool()
            before = functional.pad(response[:, 1:], (0, 1))  # the position before a token predicts it
            logits = logits_at(base, ids, before)
            total += float(functional.cross_entropy(logits, ids[response], reduction="sum"))
            tokens += len(logits)
    return total / tokens
