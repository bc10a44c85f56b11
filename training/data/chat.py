"""From a prompt and a response to token ids, and to knowing which of them are the response."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from training.data.chat_template import ending_of, lead_of, rendered_conversations, rendered_prompts, with_thought
from training.data.reasoning import reasoning_of
from training.errors import ModelError

_WORDS = ("As", "I", "No", "Sorry", "The", "Unfortunately")
"""First words of answers that have no letter in common."""


@dataclass(frozen=True)
class EncodedSample:
    """One tokenised sample: ``input_ids[response_start:]`` is the response, end-of-turn token included."""

    input_ids: list[int]
    response_start: int


@dataclass(frozen=True)
class EncodedChats:
    """Tokenised samples and what the maximum length did to them."""

    samples: list[EncodedSample]
    """The samples that are trained on."""
    rows: list[int]
    """Which of the given samples each of them is."""
    skipped: list[int]
    """The given samples that were left out, since their prompt alone fills the whole length."""
    shortened_prompts: int
    """Samples whose prompt lost its start, so that their response fits whole."""
    cut_responses: int
    """Samples whose response lost its end, since it leaves no room for a quarter of the length of prompt."""


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt in the model's chat template, up to and including the generation prompt."""
    return _token_ids(tokenizer, rendered_prompts(tokenizer, prompts))


def encode_samples(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str], max_length: int
) -> list[EncodedSample]:
    """The samples of :func:`encode_chats`, without those that are too long."""
    return encode_chats(tokenizer, prompts, responses, max_length).samples


def encode_chats(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str], max_length: int
) -> EncodedChats:
    """Tokenise chat samples as the model's template writes them.

    The response is everything that the template writes after the generation prompt, up to and including the token that
    ends the assistant's turn. Of a sample that is too long the prompt loses its start, down to a quarter of the
    length, and only then the response its end; a sample whose prompt alone is too long is left out.

    Args:
        tokenizer: with a chat template.
        prompts: user messages.
        responses: assistant messages, without the end-of-turn token.
        max_length: longest sample in tokens.

    Raises:
        ModelError: the template cannot be used: it writes the prompt of a conversation otherwise than a prompt alone.
    """
    heads, tails = _heads_and_tails(tokenizer, prompts, responses)
    samples, rows, skipped = [], [], []
    shortened = cut = 0
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        if len(head) >= max_length:
            skipped.append(row)
            continue
        room = max(max_length - len(tail), max_length // 4, 1)
        kept = head[-room:]
        rest = tail[: max_length - len(kept)]
        shortened += len(kept) < len(head)
        cut += len(rest) < len(tail)
        samples.append(EncodedSample(kept + rest, len(kept)))
        rows.append(row)
    return EncodedChats(samples, rows, skipped, shortened, cut)


def answer_tokens(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """What stands between the generation prompt and an answer's first word, and the tokens of answers behind it.

    The former is what the template writes there and every training sample has: an empty thought, the mark of the final
    channel, a space that no word swallows; mostly nothing. An answer's first token depends on what stands before it:
    behind ``[/INST]`` it is another one than behind a line break or alone.

    Args:
        tokenizer: with a chat template.
        answers: any; end-of-turn token left out.
    """
    said = [*_WORDS, *answers]
    _, tails = _heads_and_tails(tokenizer, ["?"] * len(said), said)
    # What answers of other words have in common is no part of any word.
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*tails, strict=False))
    lead = [column[0] for column in alike]
    return lead, [tail[len(lead) :] for tail in tails[len(_WORDS) :]]


def answer_lead(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The first part of :func:`answer_tokens`."""
    return answer_tokens(tokenizer, [])[0]


def opening_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of an assistant's turn that begins with ``text``, behind the generation prompt.

    What the template writes before an answer is among them, so that ``text`` is no part of a thought.
    """
    (before,) = rendered_prompts(tokenizer, ["?"])
    lead = lead_of(tokenizer)
    head, whole = _token_ids(tokenizer, [before, before + lead + text])
    alike = whole[: len(head)] == head
    return whole[len(head) :] if alike else _token_ids(tokenizer, [lead + text])[0]


def _heads_and_tails(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of every prompt and of what follows it."""
    if not prompts:
        return [], []
    ending, reasoning = ending_of(tokenizer), reasoning_of(tokenizer)
    before = rendered_prompts(tokenizer, prompts)
    whole = []
    for row, text in enumerate(rendered_conversations(tokenizer, prompts, responses)):
        said = text[: len(text) - len(ending.written)]
        if reasoning is not None and not said.startswith(before[row]):
            said = with_thought(reasoning, before[row], said, responses[row]) or said
        if not said.startswith(before[row]) or not text.endswith(ending.written):
            raise ModelError(
                f"the chat template of {tokenizer.name_or_path or 'the tokenizer'} writes the prompt of a conversation "
                f"otherwise than a prompt alone (sample {row}: {text[:80]!r} does not begin with "
                f"{before[row][-80:]!r}), so the response cannot be told from the prompt: use a template that adds "
                "nothing to a prompt which it leaves out of the conversation"
            )
        whole.append(said + ending.trained)
    heads = _token_ids(tokenizer, before)
    tails = []
    for head, text, prompt, ids in zip(heads, whole, before, _token_ids(tokenizer, whole), strict=True):
        # At generation the model sees the prompt's own tokens: where the response's first characters would merge with
        # the prompt's last ones, the response is tokenised apart.
        alike = ids[: len(head)] == head and len(ids) > len(head)
        tails.append(ids[len(head) :] if alike else _token_ids(tokenizer, [text[len(prompt) :]])[0])
    return heads, tails


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts that already hold every special token."""
    return list(tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []
