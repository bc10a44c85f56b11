import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from training.data.chat import encode_prompts
from training.evaluation.refusal_odds import refusal_log_odds, refusal_token_ids


def soft_capped_model(vocabulary):
    torch.manual_seed(0)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            final_logit_softcapping=2.0,
            initializer_range=0.3,
        )
    ).eval()


@pytest.fixture
def capped_model(tokenizer):
    return soft_capped_model(len(tokenizer))


@pytest.mark.parametrize("kind", ["model", "capped_model"])
def test_log_odds_equal_those_of_the_first_answer_token(kind, request, tokenizer, prompts):
    model = request.getfixturevalue(kind)
    encoded = encode_prompts(tokenizer, prompts)
    tokens = [3, 40, 41]
    expected = []
    for prompt in encoded:
        with torch.no_grad():
            share = model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)[tokens].sum()
        expected.append(float(torch.logit(share.double())))
    assert refusal_log_odds(model, encoded, tokens, batch_size=5) == pytest.approx(expected, abs=2e-4)


def test_refusal_tokens_are_whole_words(tokenizer):
    tokens = refusal_token_ids(tokenizer)
    assert tokens
    assert {tokenizer.decode([token]).strip() for token in tokens} <= {"I", "I'm", "Sorry", "As", "Unfortunately"}
