"""Reference log-probabilities: what the initial model thought likely at every response token.

Kept beside the projections, for constraints on the logits: of the token that follows, or of the 64 likeliest tokens and
of all others together, since a whole distribution per token would be a thousand times as large.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.constraints.log_probabilities import LogProbabilities, rest_log_probability, target_log_probability
from training.constraints.references import files as reference_files
from training.constraints.references.files import ReferenceTable, Values, starts_of
from training.constraints.references.passes import gathered_on_rank_zero, in_passes
from training.constraints.references.projections import FORMAT, Precision
from training.data.samples import Batch, Integers, Samples
from training.distributed.sharding import sharded
from training.models.logits import model_inputs, reduced_logits
from training.storage.shared import Shared

TOP = 64
"""Likeliest tokens kept; all of a smaller vocabulary."""
_TOKENS_PER_PASS = 4096
"""Padded tokens per forward pass."""

Kind = Literal["target", "top"]


@dataclass(frozen=True)
class LogProbabilityKey:
    """Everything the log-probabilities depend on."""

    model: str
    """Fingerprint of the initial model, its precision included."""
    samples: str
    """Fingerprint of the tokenised samples."""
    kind: Kind
    """target: of the token that follows; top: of the likeliest tokens and the rest."""
    precision: Precision = "fp32"
    """Number format they are kept in."""

    @property
    def name(self) -> str:
        """The file's name, by content."""
        text = "\n".join(("log-probabilities", FORMAT, str(TOP), *vars(self).values()))
        return hashlib.sha256(text.encode()).hexdigest()[:24] + ".arrow"


@dataclass(frozen=True)
class LogProbabilityReferences:
    """Log-probabilities of the initial model for all samples, mapped into memory."""

    table: ReferenceTable
    """Columns ``target``, or ``top``, ``top_tokens`` and ``rest``."""

    def of(self, samples: Integers, layers: list[int]) -> LogProbabilities:
        """What belongs to the response tokens of a batch of ``samples``; layers have no part in it."""
        del layers
        rows = self.table.rows(samples)
        chosen = {name: torch.from_numpy(values[rows]) for name, values in self.table.columns.items()}
        return LogProbabilities(
            **{
                name: value.long() if name == "top_tokens" else value.float() if name == "top" else value[:, 0].float()
                for name, value in chosen.items()
            }
        )


def _kept(logits: Tensor, targets: Tensor, kind: Kind) -> Tensor:
    """What is kept of some tokens side by side: ``[tokens, 1]``, or ``[tokens, top + top + 1]`` in the order of names.

    Token ids are among them, which float32 holds exactly up to a vocabulary of 16 million.
    """
    if kind == "target":
        return target_log_probability(logits, targets)[:, None]
    wide = logits.float()
    top, tokens = wide.topk(min(TOP, wide.shape[-1]), dim=-1)
    everything = tokens.shape[-1] == wide.shape[-1]
    rest = wide.new_full((len(wide),), -torch.inf) if everything else rest_log_probability(wide, tokens)
    return torch.cat([top - wide.logsumexp(dim=-1, keepdim=True), tokens.float(), rest[:, None]], dim=-1)


def _found(model: PreTrainedModel, batch: Batch, kind: Kind) -> Tensor:
    """:func:`_kept` of every response token of ``batch``, of logits that are never there all at once."""

    def reduce(logits: Tensor, chosen: slice) -> Tensor:
        return _kept(logits, batch.targets[chosen], kind)

    inputs = model_inputs(model, batch)
    return reduced_logits(model, lambda: model(**inputs, use_cache=False), batch.predicting, reduce)


@torch.no_grad()
def compute(model: PreTrainedModel, samples: Samples, kind: Kind, precision: Precision = "fp32") -> ReferenceTable:
    """The log-probabilities of ``model`` at every response token: one forward pass, shared among the ranks.

    Args:
        model: the initial model, without adapters.
        samples: what it will be trained on.
        kind: what is kept.
        precision: number format of what is kept.

    Returns:
        The table; complete on rank 0.
    """
    device = next(model.parameters()).device
    starts = starts_of(samples.response_lengths)
    parts: dict[str, list[tuple[Integers, Values]]] = {}
    was_training = model.training
    model.eval()
    width = min(TOP, int(model.config.get_text_config().vocab_size))
    widths = {"target": 1} if kind == "target" else {"top": width, "top_tokens": width, "rest": 1}
    for name in widths:
        parts[name] = []
    for group, found in in_passes(
        samples.lengths,
        lambda group: _found(model, samples.collate(group).to(device), kind).cpu(),
        _TOKENS_PER_PASS,
        lockstep=sharded(model),
    ):
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in group])
        for name, value in zip(widths, torch.split(found, list(widths.values()), dim=-1), strict=True):
            parts[name].append((rows, value.numpy()))
    model.train(was_training)
    kept = np.float16 if precision == "fp16" else np.float32
    columns: dict[str, Values] = {}
    for name, wide in widths.items():
        shape = (int(starts[-1]), wide)
        # NaN, so that the table of another rank than 0 cannot be mistaken for a whole one.
        whole: Values = np.full(shape, -1, np.int32) if name == "top_tokens" else np.full(shape, np.nan, np.float32)
        whole = gathered_on_rank_zero(parts[name], whole)
        columns[name] = whole if name == "top_tokens" else whole.astype(kept)
    return ReferenceTable(columns, starts)


def load_or_build(
    directory: Path, key: LogProbabilityKey, model: PreTrainedModel, samples: Samples, shared: Shared | None = None
) -> LogProbabilityReferences:
    """The references of ``key``: read where they exist, else computed once; all ranks must call it.

    Args:
        directory: where references are kept.
        key: fingerprints of what follows.
        model: the initial model, without adapters.
        samples: what it will be trained on.
        shared: what other machines share them by, where they do not see ``directory``.
    """
    what = f"reference log-probabilities of {len(samples)} samples"
    table = reference_files.load_or_build(
        directory / key.name, lambda: compute(model, samples, key.kind, key.precision), vars(key), what, shared
    )
    return LogProbabilityReferences(table)
