"""Greedy answers to many prompts at once, token for token what ``transformers`` would generate, only sooner."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from training.data.chat_template import ending_of
from training.distributed.lockstep import in_step
from training.distributed.shares import shared_out
from training.models.batching import BatchSize, TokenIds, measuring
from training.models.decoding import Decoder
from training.models.loading import base_model
from training.models.replies import Reply, read_replies
from training.models.room import rows_decoded


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

    Prompts are taken by length, the longest first. Rows that are done leave the batch where the model's cache can drop
    them, else they go on as padding until its last row is done; and others take their places where it can take them
    (:class:`training.models.row_cache.RowCache`). Where memory runs out, rows are halved, those under way begin again,
    and there are no more later. All ranks must call it where the model is sharded
    (:func:`training.distributed.lockstep.in_step`), with whatever prompts each has.

    Raises:
        ModelError: memory runs out over a single prompt.
    """
    base = base_model(model)
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    with measuring(base), in_step(base, base.device) as forward:
        decoder = Decoder(base, forward, end_ids, max_new_tokens)
        return decoder.answers(prompts, size, rows_decoded(base, forward, max_new_tokens))
