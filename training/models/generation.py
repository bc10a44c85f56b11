"""Greedy answers to many prompts at once, token for token what ``transformers`` would generate, only sooner."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.data.chat_template import ending_of
from training.distributed.lockstep import Forward, in_step
from training.distributed.shares import shared_out
from training.models.batching import BatchSize, TokenIds, in_batches, measuring, pad
from training.models.loading import base_model
from training.models.replies import Reply, read_replies
from training.models.room import rows_decoded

_FINISHED_SHARE = 0.125
"""Finished rows are dropped once they are this share of a batch: copying the cache costs about one more step."""


def end_token_ids(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends an answer: the template's end of turn, ``eos_token``, and the generation settings'."""
    settings = getattr(base_model(model), "generation_config", None)
    configured = getattr(settings, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    end_of_turn = tokenizer.convert_tokens_to_ids(ending_of(tokenizer).token)
    return frozenset(int(token) for token in (tokenizer.eos_token_id, end_of_turn, *listed) if token is not None)


def generate_answers(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: TokenIds,
    *,
    max_new_tokens: int,
    batch_size: int | BatchSize,
    prefills: TokenIds | None = None,
) -> list[str]:
    """The answers of :func:`generate_replies` alone."""
    replies = generate_replies(
        model, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, prefills=prefills
    )
    return [reply.answer for reply in replies]


def generate_replies(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: TokenIds,
    *,
    max_new_tokens: int,
    batch_size: int | BatchSize,
    prefills: TokenIds | None = None,
    shared: bool = False,
) -> list[Reply]:
    """Greedy replies, thought and answer apart, in the order of ``prompts``.

    Args:
        model: a causal language model, with or without (unmerged) adapters; its mode is left as it was.
        tokenizer: decodes the answers and knows the end-of-turn token.
        prompts: token ids up to and including the generation prompt.
        max_new_tokens: longest reply in tokens, thought included, what it is made to begin with not counted.
        batch_size: prompts decoded at once, at most: fewer where memory has no room for so many
            (:mod:`training.models.room`); a :class:`BatchSize` keeps what is found to fit.
        prefills: token ids that each reply is made to begin with; they are part of it.
        shared: whether the ranks share the prompts, by length; all must call it with the same then. Otherwise this rank
            answers all, and others are asked for no more than their share of a sharded model.

    Raises:
        ModelError: memory runs out over a single prompt.
    """
    begun = prefills or [[] for _ in prompts]
    whole = [[*prompt, *start] for prompt, start in zip(prompts, begun, strict=True)]
    distinct = list(dict.fromkeys(tuple(ids) for ids in whole))  # sets may share prompts
    end_ids = end_token_ids(model, tokenizer)

    def answers_to(chosen: Sequence[int]) -> list[list[int]]:
        asked = [distinct[index] for index in chosen]
        return generate_tokens(model, asked, end_ids=end_ids, max_new_tokens=max_new_tokens, batch_size=batch_size)

    everything = range(len(distinct))
    found = shared_out([len(ids) for ids in distinct], answers_to) if shared else answers_to(everything)
    answer_to = dict(zip(distinct, found, strict=True))
    return read_replies(tokenizer, begun, [answer_to[tuple(ids)] for ids in whole], end_ids)


def generate_tokens(
    model: torch.nn.Module,
    prompts: TokenIds,
    *,
    end_ids: frozenset[int],
    max_new_tokens: int,
    batch_size: int | BatchSize,
) -> list[list[int]]:
    """Greedy answers as token ids, the ending token included where one was reached, in the order of ``prompts``.

    Prompts are batched by length; a batch stops when its last row does, and rows that are done leave it where the
    model's cache can drop them, else they go on as padding. Where memory runs out, the batch is halved and begun again,
    and later batches are no larger. All ranks must call it where the model is sharded
    (:func:`training.distributed.lockstep.in_step`), with whatever prompts each has.

    Raises:
        ModelError: memory runs out over a single prompt.
    """
    base = base_model(model)
    answers: list[list[int]] = [[] for _ in prompts]
    with measuring(base), in_step(base, base.device) as forward:

        def decode(batch: list[int]) -> list[list[int]]:
            return _decode_batch(base, forward, [prompts[index] for index in batch], end_ids, max_new_tokens)

        room = rows_decoded(base, forward, max_new_tokens)
        for batch, found in in_batches([len(ids) for ids in prompts], batch_size, decode, room):
            for index, answer in zip(batch, found, strict=True):
                answers[index] = answer
    return answers


@dataclass
class _Rows:
    """The unfinished rows of a batch."""

    mask: Tensor
    """``[rows, seq]``, 0 on the padding to the left."""
    position: Tensor
    """``[rows, 1]``: position of the next token."""
    cache: Any = None
    """Keys and values of the tokens seen, as the model returned them."""
    numbers: list[int] = field(default_factory=list)
    """Where each row stands in the batch as it began."""

    def keep(self, kept: list[int]) -> bool:
        """Drop all rows but ``kept``; false, and nothing is dropped, where the cache cannot."""
        select = row_selection(self.cache)
        if select is None:
            return False
        index = torch.tensor(kept, device=self.mask.device)
        select(index)
        self.mask, self.position = self.mask[index], self.position[index]
        self.numbers = [self.numbers[row] for row in kept]
        return True


def row_selection(cache: Any) -> Callable[[Tensor], None] | None:
    """What keeps the given rows of a cache and drops the others; None where it cannot drop any.

    The states of hybrid models (Qwen3.5, LFM2, Falcon-H1) have no selection of rows, or one that forgets them, but know
    beam search's reordering, which drops the rows that it is not given.
    """
    layers = getattr(cache, "layers", None) or ()
    names = ["batch_select_indices", "reorder_cache"]
    if any(hasattr(layer, "conv_states") for layer in layers):
        names = ["reorder_cache"]
    for name in names:
        if layers and all(hasattr(layer, name) for layer in layers):
            selection: Callable[[Tensor], None] = getattr(cache, name)
            return selection
    return None


def prefill(base: PreTrainedModel, ids: Tensor, mask: Tensor, forward: Forward | None = None) -> Any:
    """The forward pass over whole prompts that a batch begins with.

    Args:
        base: a causal language model.
        ids: ``[rows, seq]``, padded on the left.
        mask: ``[rows, seq]``, 0 on padding.
        forward: what ``base`` is called by; see :func:`training.distributed.lockstep.in_step`.

    Returns:
        The model's output; ``logits[:, -1]`` are of the next token.
    """
    return (forward or base)(input_ids=ids, attention_mask=mask, **_options(base, _positions(mask)))


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _options(base: PreTrainedModel, positions: Tensor) -> dict[str, Any]:
    accepted = inspect.signature(base.forward).parameters
    options: dict[str, Any] = {"use_cache": True}
    if "logits_to_keep" in accepted:  # the head's product with every prompt token would be thrown away
        options["logits_to_keep"] = 1
    if "position_ids" in accepted:  # absent where positions follow from the mask alone
        options["position_ids"] = positions
    return options


def _decode_batch(
    base: PreTrainedModel,
    forward: Forward,
    prompts: Sequence[Sequence[int]],
    end_ids: frozenset[int],
    max_new_tokens: int,
) -> list[list[int]]:
    """Answers of one batch: a forward pass over the prompts, then one per token."""
    ids, mask = pad(prompts, padding_id=0, side="left", device=base.device)
    rows = _Rows(mask, _positions(mask)[:, -1:] + 1, numbers=list(range(len(prompts))))
    answers: list[list[int]] = [[] for _ in prompts]
    output = prefill(base, ids, mask, forward)
    for step in range(max_new_tokens):
        tokens = output.logits[:, -1].argmax(dim=-1).tolist()
        for number, token in zip(rows.numbers, tokens, strict=True):
            if not _ended(answers[number], end_ids):
                answers[number].append(token)
        kept = [row for row, number in enumerate(rows.numbers) if not _ended(answers[number], end_ids)]
        if not kept or step + 1 == max_new_tokens:
            break
        rows.cache = output.past_key_values
        finished = len(rows.numbers) - len(kept)
        if finished and finished >= _FINISHED_SHARE * len(rows.numbers) and rows.keep(kept):
            tokens = [tokens[row] for row in kept]
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(tokens), 1)], dim=1)
        output = forward(
            input_ids=torch.tensor(tokens, device=base.device)[:, None],
            attention_mask=rows.mask,
            past_key_values=rows.cache,
            **_options(base, rows.position),
        )
        rows.position = rows.position + 1
    return answers


def _ended(answer: list[int], end_ids: frozenset[int]) -> bool:
    return bool(answer) and answer[-1] in end_ids
