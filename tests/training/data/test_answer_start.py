"""Where answers begin and turns end, on templates and tokenizers of both kinds: SentencePiece and byte-level BPE."""

import pytest
import torch
from test_data_chat import CHATML, GEMMA, LLAMA2
from tiny import tiny_llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.constraints import sdp
from training.data.chat import answer_lead, encode_samples
from training.data.chat_template import ending_of
from training.evaluation.first_word import answer_places, blank_of, first_words
from training.evaluation.refusal_odds import REFUSAL_OPENINGS, refusal_log_odds, refusal_token_ids

TEXTS = [*REFUSAL_OPENINGS, *(f" {opening} so" for opening in REFUSAL_OPENINGS), "please bake bread ? [INST] [/INST]"]
SPECIALS = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]


def sentence_piece():
    made = Tokenizer(models.BPE(byte_fallback=False))
    words = [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    made.pre_tokenizer = pre_tokenizers.Sequence(words)
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    return made, trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIALS, show_progress=False)


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return made, trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )


@pytest.fixture(scope="module")
def tokenizers():
    found = {}
    for name, make in (("sentence piece", sentence_piece), ("byte level", byte_level)):
        made, trainer = make()
        made.train_from_iterator(
            [
                *TEXTS * 3,
                *(f"assistant\n{opening}" for opening in REFUSAL_OPENINGS),
                "assistant\nuser\nmodel\nsystem You are a helpful",
            ],
            trainer,
        )
        found[name] = made.to_str()
    return found


@pytest.fixture(params=["sentence piece", "byte level"])
def kind(request, tokenizers):
    def with_template(template, eos):
        made = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(tokenizers[request.param]), pad_token="<pad>", eos_token=eos
        )
        made.chat_template = template
        return made

    return with_template


TEMPLATES = {
    "ends without a space": (LLAMA2, "</s>"),
    "ends with a space": (LLAMA2.replace("[/INST]", "[/INST] ").replace("{% else %} ", "{% else %}"), "</s>"),
    "ends with a line break": (CHATML, "<|im_end|>"),
    "another end of turn than eos_token": (GEMMA, "<eos>"),
}


@pytest.fixture(params=TEMPLATES.values(), ids=TEMPLATES)
def tokenizer(request, kind):
    return kind(*request.param)


def test_refusals_are_read_off_the_tokens_that_training_samples_begin_with(tokenizer):
    tokens = refusal_token_ids(tokenizer)
    places = answer_places(tokenizer, ["bake bread"] * len(REFUSAL_OPENINGS))
    samples = encode_samples(tokenizer, ["bake bread"] * len(REFUSAL_OPENINGS), REFUSAL_OPENINGS, 512)
    for place, sample, opening in zip(places, samples, REFUSAL_OPENINGS, strict=True):
        assert sample.input_ids[: len(place)] == place
        first = sample.input_ids[len(place)]
        word = tokenizer.decode([first]).strip()
        assert word, "a bare space is no word"
        assert opening.startswith(word)
        assert first in tokens or word != opening.split()[0]
    assert {tokenizer.decode([token]).strip() for token in tokens} >= {"I", "Sorry"}
    assert answer_lead(tokenizer) == []


def test_a_space_that_the_model_writes_first_is_followed(kind):
    tokenizer = kind(*TEMPLATES["ends without a space"])
    blank, word = blank_of(tokenizer), refusal_token_ids(tokenizer)
    space = next(token for token in range(len(SPECIALS), len(tokenizer)) if blank(token))
    assert not any(blank(token) for token in [*word, *range(len(SPECIALS))])
    prompts = answer_places(tokenizer, ["bake bread", "please bake", "bake"])
    model = tiny_llama(vocab_size=len(tokenizer))
    spaced = [1]  # the model itself would put other tokens first: these stand for the space
    likeliest = model(input_ids=torch.tensor([prompts[1]])).logits[0, -1].argmax().item()

    found = first_words(model, prompts, list, lambda token: token == likeliest, batch_size=2)
    for index in spaced:
        assert found[index].place[: len(prompts[index]) + 1] == [*prompts[index], likeliest]
    for one in found:
        assert torch.allclose(one.found, model(input_ids=torch.tensor([one.place])).logits[0, -1], atol=1e-4)
    usual = refusal_log_odds(model, prompts, word)
    behind = refusal_log_odds(model, [one.place for one in found], word)
    assert refusal_log_odds(model, prompts, word, is_blank=lambda token: token == likeliest) == pytest.approx(behind)
    assert behind[1] != pytest.approx(usual[1], abs=1e-3)
    assert space not in word


def test_sdp_reads_at_the_end_of_turn_of_the_template(tokenizer, monkeypatch):
    seen = []

    def states(_model, token_ids):
        seen.append(token_ids)
        return torch.randn(len(token_ids), 2, 4)

    monkeypatch.setattr(sdp, "last_token_states", states)
    sdp.response_direction(None, tokenizer, ["bake bread", "please"], "I cannot", "Sorry")
    end = tokenizer.convert_tokens_to_ids(ending_of(tokenizer).token)
    for rows, response in zip(seen, ("I cannot", "Sorry"), strict=True):
        assert [row[-1] for row in rows] == [end, end]
        assert rows == [s.input_ids for s in encode_samples(tokenizer, ["bake bread", "please"], [response] * 2, 512)]
