"""A causal language model as judge, asked in the prompt format it was trained on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date as Date
from functools import cached_property

from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from training.config.judges import GenerativeJudge
from training.data.chat_settings import ChatSettings
from training.errors import ModelError
from training.evaluation.judges.base import Exchange, Verdict, encodable
from training.evaluation.judges.formats import FORMATS
from training.evaluation.judges.local import load, longest_input, on_its_device, out_of_memory
from training.models.batching import BatchSize
from training.models.generation import generate_tokens

_SPARE = 0.95  # of an answer's proportional cut: what is kept may take more tokens than its share


class GenerativeModel:
    """Reads the first greedy tokens of a judge model; the model is loaded when it is first asked."""

    def __init__(self, config: GenerativeJudge, date: Date | None = None) -> None:
        self.config = config
        self._chat = ChatSettings(date=date)
        self.name, self.asks = config.name, config.asks
        self._format = FORMATS[config.format]
        self._size = BatchSize(config.batch_size)

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        model, tokenizer = load(self.config, AutoModelForCausalLM)
        if tokenizer.chat_template:
            tokenizer.chat_template = self._chat.bound(tokenizer.get_chat_template())
        return model, tokenizer

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """The model's verdicts; None where it says something else, or where the prompt alone is too long.

        Raises:
            JudgeError: the model cannot be loaded, or memory does not suffice for one answer.
        """
        encoded = [self._encoded(exchange) for exchange in exchanges]
        asked = [at for at, ids in enumerate(encoded) if ids is not None]
        verdicts: list[Verdict] = [None] * len(exchanges)
        for at, text in zip(asked, self._said([ids for ids in encoded if ids is not None]), strict=True):
            verdicts[at] = self._format.verdict(text, self.asks)
        return verdicts

    def _said(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        if not prompts:
            return []
        model, tokenizer = self._loaded
        settings = getattr(model.generation_config, "eos_token_id", None)
        ends = [tokenizer.eos_token_id, *(settings if isinstance(settings, list) else [settings])]
        try:
            with on_its_device(self.config, model):
                tokens = generate_tokens(
                    model,
                    prompts,
                    end_ids=frozenset(end for end in ends if end is not None),
                    max_new_tokens=self._format.max_new_tokens,
                    batch_size=self._size,
                )
        except ModelError as error:
            raise out_of_memory(self.config) from error
        return list(tokenizer.batch_decode(tokens, skip_special_tokens=True))

    def _encoded(self, exchange: Exchange) -> list[int] | None:
        """Token ids of the prompt for ``exchange``, whose answer is cut until it fits; None where nothing does."""
        model, tokenizer = self._loaded
        room = longest_input(self.config, model, tokenizer) - self._format.max_new_tokens
        asked = encodable(exchange)
        around = len(self._tokenised(replace(asked, answer=""), tokenizer))
        if around > room:
            return None
        while len(ids := self._tokenised(asked, tokenizer)) > room:
            kept = (room - around) / max(len(ids) - around, 1)
            asked = replace(asked, answer=asked.answer[: int(len(asked.answer) * kept * _SPARE)])
        return ids

    def _tokenised(self, exchange: Exchange, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        if self._format.message is None and tokenizer.chat_template:  # it holds the categories of the model's version
            text = tokenizer.apply_chat_template(
                self._format.messages(exchange), tokenize=False, add_generation_prompt=True
            )
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(tokenizer(self._format.prompt(exchange))["input_ids"])
