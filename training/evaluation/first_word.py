"""The distribution of an answer's first word, behind whatever blanks the model writes before it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.data.chat import answer_lead, encode_prompts
from training.models.batching import TokenIds, length_sorted_batches, measuring, pad
from training.models.loading import base_model
from training.models.logits import logits_at

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
class FirstWords:
    """The first words of some prompts' answers."""

    indices: list[int]
    """Which of the prompts they answer."""
    places: list[list[int]]
    """Token ids that the model had read of each, blanks of its own included."""
    logits: Tensor
    """``[prompts, vocabulary]`` float32, of the token behind each."""


def first_words(
    model: torch.nn.Module, prompts: TokenIds, is_blank: IsBlank = never_blank, batch_size: int = 64
) -> Iterator[FirstWords]:
    """Logits of the first token after each prompt that is not blank; each prompt comes once, in any order.

    Where the likeliest next token is blank, it is taken for written and the one behind it is read: a model that puts a
    space before its answers would otherwise give every refusal a probability near 0.

    Args:
        model: a causal language model, with or without adapters; its mode is left as it was.
        prompts: token ids, none empty.
        is_blank: whether a token is blank.
        batch_size: prompts per forward pass.
    """
    base = base_model(model)
    waiting = {index: list(ids) for index, ids in enumerate(prompts)}
    for followed in range(_MOST_BLANKS + 1):
        numbers = list(waiting)
        for batch in length_sorted_batches(list(waiting.values()), batch_size):
            chosen = [numbers[index] for index in batch]
            with measuring(base):
                logits = _last_logits(base, [waiting[number] for number in chosen])
            kept = []
            for row, (number, token) in enumerate(zip(chosen, logits.argmax(dim=-1).tolist(), strict=True)):
                if followed < _MOST_BLANKS and is_blank(token):
                    waiting[number].append(token)
                else:
                    kept.append(row)
            if kept:
                found = [chosen[row] for row in kept]
                yield FirstWords(found, [waiting.pop(number) for number in found], logits[kept])
        if not waiting:
            return


def _last_logits(base: PreTrainedModel, prompts: TokenIds) -> Tensor:
    ids, mask = pad(prompts, padding_id=0, side="right", device=base.device)
    place = torch.arange(ids.shape[1], device=base.device)
    return logits_at(base, ids, place == mask.sum(dim=1, keepdim=True) - 1)
