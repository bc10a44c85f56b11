"""Putting every prompt to a model, in one pass of generation that all ranks share."""

import torch
from transformers import PreTrainedTokenizerBase

from training.distributed.shares import shared_out
from training.evaluation.answers import Answer
from training.evaluation.coherence import is_coherent
from training.evaluation.drawing import prompt_id
from training.evaluation.generators import Generator
from training.evaluation.prompt_sets import Asked
from training.evaluation.sets import EvaluationSets
from training.models.generation import generate_replies
from training.models.replies import Reply


def ask(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    sets: EvaluationSets,
    generator: Generator | None = None,
) -> list[Answer]:
    """The answers to all sets, directly and under every attack, checked for coherence and against the correct ones.

    The ranks share the prompts, and each returns all answers; all must call it.

    Args:
        model: a causal language model, with or without (unmerged) adapters; its mode is left as it was.
        tokenizer: its tokenizer.
        sets: the held-out prompts.
        generator: writes the answers in the model's place; None lets the model do so.

    Raises:
        ModelError: memory runs out over a single prompt.
        GeneratorError: the generator does not answer, or not as the model would.
    """
    asked = [(one, index) for one in sets.asked for index in range(len(one.token_ids))]
    prompts, prefills = [one.token_ids[index] for one, index in asked], [one.prefill for one, _ in asked]
    if generator is not None:
        replies = generator.replies(model, tokenizer, prompts, prefills, sets.max_new_tokens)
    else:
        replies = generate_replies(
            model,
            tokenizer,
            prompts,
            max_new_tokens=sets.max_new_tokens,
            batch_size=sets.batch_size,
            prefills=prefills,
            shared=True,
        )
    # Checking takes a tenth of the time of a small model, and so is shared too.
    return shared_out(
        [len(reply.answer) for reply in replies],
        lambda chosen: [_answer(*asked[place], replies[place]) for place in chosen],
    )


def _answer(asked: Asked, index: int, reply: Reply) -> Answer:
    """The reply to the prompt at ``index`` of a set, checked."""
    one = asked.prompt_set
    prompt = one.prompts[index]
    return Answer(
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
