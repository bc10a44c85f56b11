"""Tiny judge models of transformers on disk, whose verdicts are known beforehand."""

from collections.abc import Sequence
from pathlib import Path

import torch
from conformance import ODD, PLAIN
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from training.evaluation.judges.formats import FORMATS

LABELS = ("NORMAL", "REJECTION")


def word_tokenizer(words: Sequence[str], formats: Sequence[str] = tuple(FORMATS)) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are words and runs of punctuation, those of ``formats`` among them."""
    split = pre_tokenizers.Whitespace()
    texts = [text for exchange in [*PLAIN, *ODD[:5]] for text in (exchange.prompt, exchange.answer)]
    texts += [FORMATS[name].prompt(PLAIN[0]) for name in formats if FORMATS[name].completion]
    known = {word: None for text in texts for word, _ in split.pre_tokenize_str(text)}
    vocabulary = ["[PAD]", "[UNK]", "[END]", *words, *(word for word in known if word not in words)]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    inner.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]")


def save_classifier(directory: Path, seed: int = 0) -> Path:
    """A random BERT with the labels :data:`LABELS`."""
    # Random weights depend on the size of the vocabulary: a new format shall not change what this model says.
    tokenizer = word_tokenizer([], ("harmbench", "llama_guard", "wildguard"))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.6,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    BertForSequenceClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def save_generative(directory: Path, begin: Sequence[str], *, usual: str, marker: str, otherwise: str) -> Path:
    """A Llama that says ``begin`` and then ``usual``, or ``otherwise`` where the prompt has the word ``marker``.

    Its one attention head pools the prompt evenly and passes on only whether ``marker`` was there; its output head
    holds the word that follows each word. The hidden state is one dimension per word, the first (padding) being free.
    """
    tokenizer = word_tokenizer([*begin, usual, otherwise, marker])
    width = len(tokenizer)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=width,
            hidden_size=width,
            intermediate_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=4,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    number = tokenizer.convert_tokens_to_ids
    said = [*begin, usual]
    with torch.no_grad():
        layer = model.model.layers[0]
        for parameter in (*layer.self_attn.parameters(), *layer.mlp.parameters(), model.lm_head.weight):
            parameter.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(width))
        layer.self_attn.v_proj.weight[0, number(marker)] = 1
        layer.self_attn.o_proj.weight[0, 0] = 10
        head = model.lm_head.weight
        head[number(said[0]), 1:] = 1e6 if begin else 10  # after whatever the prompt ends with
        for one, following in zip(begin, said[1:], strict=True):
            head[number(following), number(one)] = 10 if following == usual else 1e7
        head[number(otherwise), 0] = 1e3
        if begin:
            head[number(said[0]), number(begin[-1])] = 0
        for last in (usual, otherwise):
            head[tokenizer.eos_token_id, number(last)] = 1e9
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
