"""From a prompt and a response to token ids, and to knowing which of them are the response."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EncodedSample:
    """One tokenised sample: ``input_ids[response_start:]`` is the response, end-of-turn token included."""

    input_ids: list[int]
    response_start: int


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt in the model's chat template, up to and including the generation prompt."""
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        for prompt in prompts
    ]
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


def encode_samples(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str], max_length: int
) -> list[EncodedSample]:
    """Tokenise chat samples; a too long prompt loses its start, and only then is the response cut at its end.

    Args:
        tokenizer: with a chat template and an end token.
        prompts: user messages.
        responses: assistant messages, without the end-of-turn token.
        max_length: longest sample in tokens.
    """
    heads = encode_prompts(tokenizer, prompts)
    end = [int(tokenizer.eos_token_id)]
    tails = [ids + end for ids in tokenizer(list(responses), add_special_tokens=False)["input_ids"]] if heads else []
    samples = []
    for head, tail in zip(heads, tails, strict=True):
        room = max(max_length - len(tail), max_length // 4)
        kept = head[-room:]
        samples.append(EncodedSample(kept + tail[: max_length - len(kept)], len(kept)))
    return samples
