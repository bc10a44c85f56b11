"""Tokenised samples in flat arrays, and the batches cut from them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.data.chat import EncodedSample, encode_samples
from training.data.packing import first_fit_decreasing

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Right-padded rows. Padding follows every real token, so causal attention needs no mask for it.

    A row is one sample, or several under packing; then ``position_ids`` say where each begins. ``response`` and
    ``predicting`` index the flattened ``[batch * seq]`` positions, and everything counted per response token stands
    sample after sample in the order in which the samples were asked for, packed or not.
    """

    input_ids: Tensor
    """``[batch, seq]`` token ids."""
    response: Tensor
    """``[response_tokens]`` positions of the response tokens, end-of-turn included, sample after sample."""
    predicting: Tensor
    """``[response_tokens]`` the position before each of them, whose logits predict it."""
    targets: Tensor
    """``[response_tokens]`` token ids at ``response``."""
    sample: Tensor
    """``[response_tokens]`` number of the sample that each response token belongs to; the row, unless packed."""
    position_ids: Tensor | None = None
    """``[batch, seq]`` position of every token within its sample, 0 on padding; None where no row holds two."""
    packed: int | None = None
    """Samples in a packed batch; None where every row is one."""

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.input_ids.shape[0] if self.packed is None else self.packed

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Samples:
    """All samples of a data set, tokenised once: sample ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: Integers
    """``[all tokens]`` token ids."""
    offsets: Integers
    """``[samples + 1]`` where each sample starts in ``tokens``."""
    response_starts: Integers
    """``[samples]`` index within the sample of its first response token; at least 1."""
    pad_token: int
    """Token id of the padding."""

    @classmethod
    def encode(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        responses: Sequence[str],
        max_length: int,
    ) -> Self:
        """Tokenise chat samples with the model's template; see :func:`training.data.chat.encode_samples`."""
        encoded = encode_samples(tokenizer, prompts, responses, max_length)
        return cls.from_encoded(encoded, int(tokenizer.pad_token_id))

    @classmethod
    def from_encoded(cls, encoded: Sequence[EncodedSample], pad_token: int) -> Self:
        """Samples from token ids."""
        lengths = [len(sample.input_ids) for sample in encoded]
        tokens = np.fromiter((token for sample in encoded for token in sample.input_ids), np.int64, sum(lengths))
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(tokens, offsets, np.array([sample.response_start for sample in encoded], np.int64), pad_token)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.response_starts)

    def __add__(self, other: "Samples") -> "Samples":
        """These samples followed by ``other``."""
        return Samples(
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
            np.concatenate([self.response_starts, other.response_starts]),
            self.pad_token,
        )

    def only(self, chosen: Sequence[int]) -> "Samples":
        """The samples with the numbers ``chosen``, in this order."""
        tokens = [self.tokens[self.offsets[index] : self.offsets[index + 1]] for index in chosen]
        lengths = [len(one) for one in tokens]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        joined = np.concatenate(tokens) if tokens else self.tokens[:0]
        return Samples(joined, offsets, self.response_starts[list(chosen)], self.pad_token)

    @property
    def lengths(self) -> Integers:
        """``[samples]`` tokens per sample."""
        return np.diff(self.offsets)

    @property
    def response_lengths(self) -> Integers:
        """``[samples]`` response tokens per sample, end-of-turn included."""
        return self.lengths - self.response_starts

    @property
    def fingerprint(self) -> str:
        """A hash of every token and of where the responses start: tokenizer, template and truncation included."""
        digest = hashlib.sha256(self.tokens.tobytes())
        digest.update(self.offsets.tobytes())
        digest.update(self.response_starts.tobytes())
        return digest.hexdigest()[:16]

    def collate(self, indices: Sequence[int] | Integers, row_length: int | None = None) -> Batch:
        """The samples ``indices`` as one batch.

        Args:
            indices: which samples, in the order of the batch's response tokens.
            row_length: pack them into as few rows of so many tokens as first-fit-decreasing finds; None gives every
                sample a row, padded to the longest.
        """
        chosen = np.asarray(indices, np.int64)
        lengths = self.lengths[chosen]
        if row_length is None:
            rows, columns = np.arange(len(chosen)), np.zeros(len(chosen), np.int64)
        else:
            rows, columns = first_fit_decreasing(lengths, row_length)
        height, width = int(rows.max()) + 1, int((columns + lengths).max())
        # All tokens sample after sample: the place of each within its sample, in the batch, and in ``self.tokens``.
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = within + np.repeat(rows * width + columns, lengths)
        ids = np.full(height * width, self.pad_token, np.int64)
        ids[places] = self.tokens[within + np.repeat(self.offsets[chosen], lengths)]
        answering = within >= np.repeat(self.response_starts[chosen], lengths)
        response = places[answering]
        positions = None
        if row_length is not None:
            positions = np.zeros(height * width, np.int64)
            positions[places] = within
        return Batch(
            torch.from_numpy(ids).view(height, width),
            torch.from_numpy(response),
            torch.from_numpy(response - 1),
            torch.from_numpy(ids[response]),
            torch.from_numpy(np.repeat(np.arange(len(chosen)), lengths)[answering]),
            None if positions is None else torch.from_numpy(positions).view(height, width),
            None if positions is None else len(chosen),
        )
