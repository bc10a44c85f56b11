"""What a tokenizer's chat template writes: the prompt, the conversation, and how it closes the assistant's turn."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from training.data.reasoning import Reasoning, reasoning_of
from training.errors import ModelError

_QUESTION, _ANSWER = "Which of them?", "The-second-one"
"""A conversation without spaces at its ends, since many templates strip those."""
_MARKER = re.compile(r"<\|[^<>|]+\|>")
"""What a special token of a template looks like, whether or not the vocabulary has it."""


@dataclass(frozen=True)
class Ending:
    """How the assistant's turn ends."""

    written: str
    """What the template writes after the response."""
    trained: str
    """What of it is trained on: up to the end-of-turn token, without the line break that many templates add."""
    token: str
    """The end-of-turn token, which need not be the tokenizer's ``eos_token``."""


def rendered_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """Each prompt in the template, up to and including the generation prompt.

    Raises:
        ModelError: the template refuses a conversation of one user message.
    """
    return [_rendered(tokenizer, [_message("user", prompt)], generation_prompt=True) for prompt in prompts]


def rendered_conversations(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str]
) -> list[str]:
    """Each prompt with its response in the template, the closing of the assistant's turn included.

    Raises:
        ModelError: the template refuses a conversation of a user's and an assistant's message.
    """
    return [
        _rendered(tokenizer, [_message("user", prompt), _message("assistant", response)], generation_prompt=False)
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def ending_of(tokenizer: PreTrainedTokenizerBase) -> Ending:
    """How the template closes the assistant's turn, read off a conversation that it renders.

    A template that ends the turn without any token (Alpaca's, for example) gets the tokenizer's ``eos_token`` there:
    without one a model would never learn to stop.

    Raises:
        ModelError: there is no template, it leaves the response out, or it ends the turn with a token that the
            vocabulary lacks.
    """
    (conversation,) = rendered_conversations(tokenizer, [_QUESTION], [_ANSWER])
    before, found, written = conversation.rpartition(_ANSWER)
    if not found or not before:
        raise ModelError(f"{_template_of(tokenizer)} leaves the assistant's message out: use one that shows it")
    places = [(written.find(token), -len(token), token) for token in _added_tokens(tokenizer) if token in written]
    if places:
        place, _, token = min(places)
        return Ending(written, written[: place + len(token)], token)
    if marker := _MARKER.search(written):
        raise ModelError(
            f"{_template_of(tokenizer)} ends the assistant's turn with {marker[0]}, which is not a token of the "
            "vocabulary: add it as a special token, or use the tokenizer that the template belongs to"
        )
    end = tokenizer.eos_token
    if end is None:
        raise ModelError(f"{_template_of(tokenizer)} ends no turn and there is no eos_token: set one")
    return Ending(written, written.rstrip() + str(end), str(end))


def lead_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes between the generation prompt and a response: mostly nothing.

    Raises:
        ModelError: the template cannot be used.
    """
    (before,) = rendered_prompts(tokenizer, [_QUESTION])
    (conversation,) = rendered_conversations(tokenizer, [_QUESTION], [_ANSWER])
    said = conversation.rpartition(_ANSWER)[0] + _ANSWER
    reasoning = reasoning_of(tokenizer)
    if reasoning is not None and not said.startswith(before):
        said = with_thought(reasoning, before, said, _ANSWER) or said
    return said[len(before) : -len(_ANSWER)] if said.startswith(before) else ""


def with_thought(reasoning: Reasoning, prompt: str, conversation: str, response: str) -> str | None:
    """A conversation that goes on from ``prompt``, whose generation prompt opens a thought that the template drops.

    The templates of DeepSeek-R1 and its like open a thought before an answer and leave thoughts out of conversations.
    The thought is put back: the response's own, else an empty one.

    Args:
        reasoning: how thoughts are marked.
        prompt: up to and including the generation prompt.
        conversation: prompt and response as the template writes them.
        response: as the data have it.

    Returns:
        none where ``prompt`` opens no thought, or differs from the conversation in something else.
    """
    bare, found, _ = prompt.rpartition(reasoning.open)
    if not found or not prompt.rstrip().endswith(reasoning.open) or not conversation.startswith(bare):
        return None
    thought = reasoning.split(response)[0] or ""
    return f"{prompt}{thought}\n{reasoning.close}\n\n{conversation[len(bare) :].lstrip()}"


def _added_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Tokens that text is never merged with; runs of spaces, which some vocabularies add, end no turn."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()} | set(tokenizer.all_special_tokens)
    return {token for token in added if token.strip()}


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], *, generation_prompt: bool
) -> str:
    if not tokenizer.chat_template:
        raise ModelError(f"{_template_of(tokenizer)} is missing: use a chat (instruct) model, or add one")
    try:
        return str(
            tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=generation_prompt)
        )
    except TemplateError as error:
        roles = " and ".join(message["role"] for message in messages)
        raise ModelError(
            f"{_template_of(tokenizer)} refuses a conversation of {roles}: {error}; use a template for plain chats"
        ) from error


def _template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    return f"the chat template of {tokenizer.name_or_path or 'the tokenizer'}"
