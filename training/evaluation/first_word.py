"""The distribution of an answer's first word, behind whatever blanks the model writes before it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.data.chat import answer_lead, encode_prompts
from training.distributed.lockstep import Forward, in_step
from training.models.batching import BatchSize, TokenIds, in_batches, measuring, pad
from training.models.loading import base_model
from training.models.logits import positions_at_once, reduced_logits
from training.models.room import rows_read

Found = TypeVar("Found")
IsBlank = Callable[[int], bool]

_MOST_BLANKS = 2
"""Blank tokens that are followed; behind more of them something else is wrong."""


def never_blank(_token: int) -> bool:
    """No token is blank: the very next one is read."""
    return False


def blank_of(tokenizer: PreTrainedTokenizerBase) -> IsBlank:
    """Whether a token is blank space and nothing else, such as the space that Llama 2 begins its answers with."""
    return lambda token: not tokenizer.decode([token]).strip()


def answer_places(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt up to where the first word of its answer stands, as in training samples."""
    lead = answer_lead(tokenizer)
    return [[*ids, *lead] for ids in encode_prompts(tokenizer, prompts)]


@dataclass(frozen=True)
class FirstWord(Generic[Found]):
    """The first word of the answer to one prompt."""

    place: list[int]
    """Token ids that the model had read, blanks of its own included."""
    found: Found
    """What was read off the distribution of the token behind them."""


def first_words(
    model: torch.nn.Module,
    prompts: TokenIds,
    read: Callable[[Tensor], Sequence[Found]],
    is_blank: IsBlank = never_blank,
    batch_size: int | BatchSize = 64,
) -> list[FirstWord[Found]]:
    """What ``read`` finds in the distribution of the first token after each prompt that is not blank.

    Where the likeliest next token is blank, it is taken for written and the one behind it is read: a model that puts a
    space before its answers would otherwise give every refusal a probability near 0. All ranks must call it where the
    model is sharded, with whatever prompts each has.

    Args:
        model: a causal language model, with or without adapters; its mode is left as it was.
        prompts: token ids, none empty.
        read: given logits ``[some prompts, vocabulary]`` float32, what is kept of each.
        is_blank: whether a token is blank.
        batch_size: prompts per forward pass.

    Returns:
        one per prompt, in their order.

    Raises:
        ModelError: memory runs out over a single prompt.
    """
    base = base_model(model)
    waiting = {index: list(ids) for index, ids in enumerate(prompts)}
    words: dict[int, FirstWord[Found]] = {}
    room = rows_read(base)
    with measuring(base), in_step(base, base.device) as forward:
        for followed in range(_MOST_BLANKS + 1):
            places = list(waiting.items())

            def seen(batch: list[int], places: list[tuple[int, list[int]]] = places) -> list[tuple[int, Found]]:
                logits = _last_logits(base, forward, [places[index][1] for index in batch])
                return list(zip(logits.argmax(dim=-1).tolist(), read(logits), strict=True))

            lengths = [len(place) for _, place in places]
            for batch, found in in_batches(
                lengths, batch_size, seen, lambda longest: min(positions_at_once(base), room(longest))
            ):
                for index, (token, value) in zip(batch, found, strict=True):
                    number, place = places[index]
                    if followed < _MOST_BLANKS and is_blank(token):
                        waiting[number] = [*place, token]
                    else:
                        words[number] = FirstWord(waiting.pop(number), value)
    return [words[index] for index in range(len(prompts))]


def _last_logits(base: PreTrainedModel, forward: Forward, prompts: TokenIds) -> Tensor:
    ids, mask = pad(prompts, padding_id=0, side="right", device=base.device)
    last = torch.arange(len(ids), device=base.device) * ids.shape[1] + mask.sum(dim=1) - 1
    return reduced_logits(base, lambda: forward(input_ids=ids, use_cache=False), last, lambda logits, _: logits.float())
