"""Tokenised samples in flat arrays, and the batches cut from them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.chat import EncodedSample, encode_samples

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Right-padded samples. Padding follows every real token, so causal attention needs no mask for it.

    ``response`` and ``predicting`` index the flattened ``[batch * seq]`` positions.
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
    """``[response_tokens]`` the row of ``input_ids`` that each response token belongs to."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(
            *(
                tensor.to(device, non_blocking=True)
                for tensor in (self.input_ids, self.response, self.predicting, self.targets, self.sample)
            )
        )


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
        """Tokenise chat samples with the model's template; see :func:`training.chat.encode_samples`."""
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

    def collate(self, indices: Sequence[int] | Integers) -> Batch:
        """The samples ``indices``, right-padded to the longest of them."""
        chosen = np.asarray(indices, np.int64)
        lengths, starts = self.lengths[chosen], self.response_starts[chosen]
        width = int(lengths.max())
        columns = np.arange(width)
        inside = columns < lengths[:, None]
        ids = np.full((len(chosen), width), self.pad_token, np.int64)
        ids[inside] = self.tokens[(self.offsets[chosen][:, None] + columns)[inside]]
        rows, positions = np.nonzero(inside & (columns >= starts[:, None]))
        flat = rows * width + positions
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(flat),
            torch.from_numpy(flat - 1),
            torch.from_numpy(ids[rows, positions]),
            torch.from_numpy(rows),
        )
