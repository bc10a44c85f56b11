"""Putting every prompt to a model, in one pass of generation that all ranks share."""

from itertools import islice

import torch
from transformers import PreTrainedTokenizerBase

from training.evaluation.answers import Answer
from training.evaluation.coherence import is_coherent
from training.evaluation.drawing import prompt_id
from training.evaluation.prompt_sets import Asked
from training.evaluation.sets import EvaluationSets
from training.models.generation import generate_replies
from training.models.replies import Reply


def ask(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, sets: EvaluationSets) -> list[Answer]:
    """The answers to all sets, directly and under every attack, checked for coherence and against the correct ones.

    The ranks share the prompts, and each returns all answers; all must call it.

    Args:
        model: a causal language model, with or without (unmerged) adapters; its mode is left as it was.
        tokenizer: its tokenizer.
        sets: the held-out prompts.

    Raises:
        ModelError: memory runs out over a single prompt.
    """
    asked = list(sets.asked)
    replies = iter(
        generate_replies(
            model,
            tokenizer,
            [ids for one in asked for ids in one.token_ids],
            max_new_tokens=sets.max_new_tokens,
            batch_size=sets.batch_size,
            prefills=[one.prefill for one in asked for _ in one.token_ids],
            shared=True,
        )
    )
    return [answer for one in asked for answer in _answers(one, list(islice(replies, len(one.token_ids))))]


def _answers(asked: Asked, replies: list[Reply]) -> list[Answer]:
    one = asked.prompt_set
    return [
        Answer(
            set=one.name,
            role=one.role,
            split=one.splits[index],
            attack=asked.attack,
            prompt_id=prompt_id(prompt),
            prompt=prompt,
            answer=reply.answer,
            reasoning=reply.reasoning,
            truncated=reply.truncated,
            empty=reply.empty,
            request=one.requests[index],
            family=one.families[index],
            correct=one.correct(index, reply.answer),
            coherent=is_coherent(prompt, reply.answer),
        )
        for index, (prompt, reply) in enumerate(zip(one.prompts, replies, strict=True))
    ]
