"""How a base model is held: whole on every rank, in 4 bits, or in shards over the ranks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from training.config import QLoraTuning, TrialConfig
from training.distributed import ranks
from training.distributed.deepspeed_config import sharding_config
from training.errors import ModelError
from training.models.loading import load_model, model_fingerprint
from training.models.quantised import load_quantised_model
from training.models.sharded import load_sharded_model
from training.models.weight_files import check_weights, files_fingerprint

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Form:
    """What decides whether a loaded model will do for a trial."""

    precision: Precision = "fp32"
    """Number format of what is not in 4 bits."""
    four_bit: bool = False
    """Linear layers in nf4, for QLoRA."""
    shards: str | None = None
    """What DeepSpeed partitions it with, as JSON, for ZeRO 3; None where every rank holds it whole."""

    @classmethod
    def of(cls, trial: TrialConfig) -> "Form":
        """The form that ``trial`` tunes."""
        shards = json.dumps(sharding_config(trial), sort_keys=True) if trial.zero_stage == 3 else None
        return cls(trial.precision, isinstance(trial.tuning, QLoraTuning), shards)

    @property
    def sharding(self) -> dict[str, Any] | None:
        """DeepSpeed's settings of the shards; None where there are none."""
        found: dict[str, Any] | None = None if self.shards is None else json.loads(self.shards)
        return found


def load_as(form: Form, path: str | Path, device: torch.device) -> PreTrainedModel:
    """The causal language model at ``path`` in ``form``, in evaluation mode and ready for forward passes.

    Args:
        form: how it is held. In shards no rank ever holds it whole, and forward passes need all ranks.
        path: a Hub id or a local directory.
        device: of this rank.

    Raises:
        ModelError: it cannot be loaded, or not in this form; the same on every rank where its files are at fault.
    """
    _check_files(Path(path), in_shards=form.shards is not None)
    if form.four_bit:
        return load_quantised_model(path, form.precision, device)
    if form.sharding is not None:
        return load_sharded_model(path, form.precision, form.sharding)
    return load_model(path, form.precision, device)


def fingerprint_of_all_ranks(model: PreTrainedModel, path: str | Path) -> str:
    """:func:`model_fingerprint` of what was loaded; all ranks must call it.

    Raises:
        ModelError: the ranks have loaded different models.
    """
    own = model_fingerprint(model)
    found = ranks.from_all_ranks(own)
    other = next((rank for rank, one in enumerate(found) if one != found[0]), None)
    if other is not None:
        raise _different(path, other)
    return own


def _check_files(folder: Path, *, in_shards: bool) -> None:
    """Refuse a local folder whose files are absent, cut off or not the same on every rank, on every rank alike.

    Under ZeRO 3 a rank that failed by itself would leave the others waiting for its shards.
    """
    fault, listing = None, ""
    if folder.is_dir():
        try:
            check_weights(folder, str(folder), pickled=True, streamed=in_shards)
            listing = files_fingerprint(folder)
        except ModelError as error:
            fault = str(error)
    found = ranks.from_all_ranks((fault, folder.is_dir(), listing))
    for rank, (reason, _, _) in enumerate(found):
        if reason is not None:
            raise ModelError(reason if rank == ranks.rank() else f"{reason} (on rank {rank})")
    other = next((rank for rank, one in enumerate(found) if one != found[0]), None)
    if other is not None:
        raise _different(folder, other)


def _different(path: str | Path, rank: int) -> ModelError:
    return ModelError(
        f"the model at {path} is not the same on every worker (ranks 0 and {rank} have different files): put the same "
        "files on every machine, or on a file system that they share"
    )
