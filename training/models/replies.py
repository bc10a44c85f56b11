"""What a model wrote, read: the answer apart from the thought before it, and whether there is one at all."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from training.data.chat_template import rendered_prompts
from training.data.reasoning import Reasoning, reasoning_of
from training.models.batching import TokenIds


@dataclass(frozen=True)
class Reply:
    """One reply of a model."""

    answer: str
    """What it said, a prefill included, without special tokens and without thoughts."""
    reasoning: str | None
    """What it thought before; None where the reply holds no mark of a thought."""
    truncated: bool
    """Whether it was cut at the largest number of tokens."""
    empty: bool
    """Whether the model itself, a prefill left out, answered with neither letter nor digit."""


def read_replies(
    tokenizer: PreTrainedTokenizerBase, begun: TokenIds, written: TokenIds, end_ids: frozenset[int]
) -> list[Reply]:
    """Replies from their token ids.

    Args:
        tokenizer: of the model.
        begun: what each reply was made to begin with; mostly nothing.
        written: what the model wrote behind it.
        end_ids: the tokens that end a reply.
    """
    if not written:
        return []
    whole = [[*start, *rest] for start, rest in zip(begun, written, strict=True)]
    texts = tokenizer.batch_decode(whole, skip_special_tokens=True)
    own = tokenizer.batch_decode([list(rest) for rest in written], skip_special_tokens=True) if any(begun) else texts
    cut = [not rest or rest[-1] not in end_ids for rest in written]
    facts = zip(texts, cut, own, strict=True)
    plain = [Reply(text, None, truncated, is_empty(said)) for text, truncated, said in facts]
    reasoning = reasoning_of(tokenizer)
    if reasoning is None:
        return plain
    reader = _Reader.of(tokenizer, reasoning)
    raw, starts = (tokenizer.batch_decode(ids) for ids in (whole, [list(start) for start in begun]))
    return [reader.read(*each) for each in zip(plain, raw, starts, strict=True)]


def is_empty(text: str) -> bool:
    """Whether ``text`` says nothing: it has neither letter nor digit."""
    return not any(character.isalnum() for character in text)


@dataclass(frozen=True)
class _Reader:
    """Takes thoughts off replies."""

    reasoning: Reasoning
    opened: bool
    """Whether the generation prompt has opened a thought."""
    specials: Sequence[str]
    """Special tokens, the longest first."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, reasoning: Reasoning) -> "_Reader":
        added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        specials = sorted(added | set(tokenizer.all_special_tokens), key=len, reverse=True)
        return cls(reasoning, reasoning.opened_by(rendered_prompts(tokenizer, ["?"])[0]), specials)

    def read(self, plain: Reply, raw: str, start: str) -> Reply:
        """``plain`` without the thought that ``raw``, with its special tokens, holds; ``start`` is the prefill."""
        thought, answer = self.reasoning.split(raw, opened=self.opened)
        if thought is None:
            return plain
        said = self._cleaned(answer)
        given = self._cleaned(self.reasoning.split(start, opened=self.opened)[1]) if start else ""
        return Reply(said, self._cleaned(thought), plain.truncated, is_empty(said.removeprefix(given)))

    def _cleaned(self, text: str) -> str:
        for token in self.specials:
            text = text.replace(token, "")
        return text
