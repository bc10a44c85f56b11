"""The base model of a slot, loaded once and in another form only where a trial needs one."""

import gc
from pathlib import Path

import torch
from transformers import PreTrainedModel

from training.distributed import progress
from training.models.attention import use_attention
from training.models.forms import Form, fingerprint_of_all_ranks, load_as


class WarmModel:
    """The untouched model, which trials are tuned from and compared with; its weights never change."""

    def __init__(self, path: str | Path, attention: str | None) -> None:
        """Remember what to load.

        Args:
            path: a Hub id or a local directory.
            attention: what computes attention, see :func:`training.models.attention.use_attention`.
        """
        self.path = path
        self._attention = attention
        self.form: Form | None = None
        """What it is loaded as; None before the first time, and after one that failed."""

    def use(self, form: Form, device: torch.device) -> None:
        """Have it in ``form``; what was loaded in another is freed first."""
        if form == self.form:
            return
        if self.form is not None:
            self.form = None
            del self.model  # its memory is free before the next is loaded
            gc.collect()  # an engine and its module refer to each other
            if device.type == "cuda":
                torch.cuda.empty_cache()
        self.model: PreTrainedModel = self.copy(form, device)
        self.fingerprint = fingerprint_of_all_ranks(self.model, self.path)
        self.form = form

    def copy(self, form: Form, device: torch.device) -> PreTrainedModel:
        """Another one from the checkpoint."""
        model = load_as(form, self.path, device)
        use_attention(model, self._attention)
        progress.follow(model)
        return model
