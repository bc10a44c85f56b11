"""The rows of a source as tokenised samples, with what the maximum length did to them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from training.config.data import Source
from training.data.chat import EncodedChats, encode_chats
from training.data.samples import Samples
from training.data.sources import Split, load_split
from training.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedSource:
    """One split of a source, tokenised."""

    prompts: Sequence[str]
    """Of every row, those that were left out included."""
    responses: Sequence[str]
    """Of every row."""
    chats: EncodedChats
    """Token ids of the rows that are trained on, and counts of the others."""
    samples: Samples
    """The same token ids in flat arrays."""


def truncation_sentence(chats: EncodedChats, max_length: int) -> str | None:
    """What ``max_length`` did to the samples, in words; None where it did nothing."""
    parts = [
        f"{count} {what}"
        for count, what in (
            (len(chats.skipped), "skipped, since their prompt alone fills the whole length"),
            (chats.shortened_prompts, "with a prompt that lost its start"),
            (chats.cut_responses, "with a response that lost its end"),
        )
        if count
    ]
    total = len(chats.samples) + len(chats.skipped)
    return f"max_length ({max_length}) is too short for some of {total} samples: {'; '.join(parts)}" if parts else None


def encode_source(
    source: Source, split: Split, *, field: str, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> EncodedSource:
    """Load and tokenise one split of a source; samples that are too long are counted in a warning.

    Args:
        source: with absolute paths.
        split: ``train`` or ``test``.
        field: dotted name of the source in the specification, for errors.
        tokenizer: with a chat template.
        max_length: longest sample in tokens; see :func:`training.data.chat.encode_chats`.

    Raises:
        DataError: the source cannot be used, or no sample is left.
        ModelError: the chat template cannot be used.
    """
    rows = load_split(source, split, need=("prompt", "response"), field=field)
    prompts, responses = list(rows["prompt"]), list(rows["response"])
    chats = encode_chats(tokenizer, prompts, responses, max_length)
    if not chats.samples:
        raise DataError(
            f"{field}: the prompt of every one of its {len(prompts)} {split} samples fills max_length ({max_length}) "
            "tokens alone: raise trial.max_length"
        )
    sentence = truncation_sentence(chats, max_length)
    if sentence:
        log.warning("%s: %s", field, sentence)
    return EncodedSource(prompts, responses, chats, Samples.from_encoded(chats.samples, _padding(tokenizer)))


def _padding(tokenizer: PreTrainedTokenizerBase) -> int:
    """Any token does where padding is neither attended to nor trained on."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
