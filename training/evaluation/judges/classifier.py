"""A sequence classification model as judge."""

from collections.abc import Collection, Sequence
from functools import cached_property

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from training.config.judges import ClassifierJudge
from training.errors import JudgeError, ModelError
from training.evaluation.judges.base import Exchange, Verdict, encodable
from training.evaluation.judges.local import load, longest_input, on_its_device, out_of_memory
from training.models.batching import BatchSize, in_batches


class Classifier:
    """True where the likeliest label is one of ``labels``; the model is loaded when it is first asked."""

    def __init__(self, config: ClassifierJudge) -> None:
        self.config = config
        self.name, self.asks = config.name, config.asks
        self._size = BatchSize(config.batch_size)

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        model, tokenizer = load(self.config, AutoModelForSequenceClassification)
        check_labels(self.config, model.config.id2label.values())
        return model, tokenizer

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Whether the model gives each answer one of the labels; None where it has no token to read or no finite score.

        Raises:
            JudgeError: the model cannot be loaded, or memory does not suffice for one answer.
        """
        lengths = [len(exchange.prompt) + len(exchange.answer) for exchange in exchanges]
        verdicts: list[Verdict] = [None] * len(exchanges)
        if not exchanges:
            return verdicts
        try:
            with on_its_device(self.config, self._loaded[0]):
                for batch, found in in_batches(
                    lengths, self._size, lambda batch: self._judge_batch([exchanges[at] for at in batch])
                ):
                    for at, verdict in zip(batch, found, strict=True):
                        verdicts[at] = verdict
        except ModelError as error:
            raise out_of_memory(self.config) from error
        return verdicts

    def _judge_batch(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        model, tokenizer = self._loaded
        readable = [encodable(exchange) for exchange in exchanges]
        texts = [[exchange.answer for exchange in readable]]
        if self.config.reads == "exchange":
            texts = [[exchange.prompt for exchange in readable], *texts]
        limit = longest_input(self.config, model, tokenizer)
        encoded = tokenizer(*texts, truncation=True, max_length=limit, padding=True, return_tensors="pt")
        mask = encoded["attention_mask"]  # [batch, seq], which is empty where the tokenizer adds nothing to no text
        if not mask.numel():
            return [None] * len(exchanges)
        with torch.no_grad():
            scores = model(**encoded.to(model.device)).logits.float()  # [batch, labels]
        chosen = {number for number, label in model.config.id2label.items() if label in self.config.labels}
        judged = (scores.isfinite().all(dim=-1) & mask.to(scores.device).any(dim=-1)).tolist()
        return [
            label in chosen if known else None
            for label, known in zip(scores.argmax(dim=-1).tolist(), judged, strict=True)
        ]


def check_labels(config: ClassifierJudge, there: Collection[str]) -> None:
    """Refuse labels that the model does not give, and a choice of them all.

    Raises:
        JudgeError: naming the label.
    """
    unknown = [label for label in config.labels if label not in there]
    if unknown:
        raise JudgeError(
            f"judge {config.name}: labels ({unknown[0]}) is no label of {config.model}: use of {', '.join(there)}"
        )
    if set(there) <= set(config.labels):
        raise JudgeError(
            f"judge {config.name}: labels has every label of {config.model}, which makes every verdict true: "
            f"keep those that mean {config.asks}"
        )
