import pytest
import torch

from training.chat import encode_prompts
from training.evaluation import generation
from training.evaluation.batching import pad
from training.evaluation.generation import end_token_ids, generate_answers, generate_tokens


def transformers_generate(model, prompt, max_new_tokens, end_ids):
    """One prompt at a time: no padding, no batch, the plainest reference there is."""
    ids = torch.tensor([prompt])
    found = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(end_ids),
        pad_token_id=0,
    )
    return found[0, len(prompt) :].tolist()


def frequent_token(model, prompts):
    """A token that many answers reach, but not at the same step: a stand-in for an end token in a random model."""
    answers = [transformers_generate(model, prompt, 20, [2]) for prompt in prompts]
    tokens = {token for answer in answers for token in answer}
    return max(tokens, key=lambda token: len({answer.index(token) for answer in answers if token in answer}))


@pytest.mark.parametrize("kind", ["model", "adapted_model"])
def test_equals_transformers_token_for_token(kind, request, tokenizer, prompts, monkeypatch):
    model = request.getfixturevalue(kind)
    encoded = encode_prompts(tokenizer, prompts[::2] + prompts[1::8])
    end_ids = frozenset({2, frequent_token(model, encoded[::3])})
    expected = [transformers_generate(model, prompt, 20, end_ids) for prompt in encoded]
    for finished_share in (0.001, 0.125, 2.0):  # rows leave at once, now and then, never
        monkeypatch.setattr(generation, "_FINISHED_SHARE", finished_share)
        answers = generate_tokens(model, encoded, end_ids=end_ids, max_new_tokens=20, batch_size=7)
        assert answers == expected
    lengths = {len(answer) for answer in answers}
    assert len(lengths) > 3, "rows must end at different steps for this test to mean anything"
    assert all(answer[-1] in end_ids or len(answer) == 20 for answer in answers)


def test_a_batch_stops_when_its_last_row_does(model, tokenizer, prompts):
    encoded = encode_prompts(tokenizer, prompts[:6])
    steps = []
    handle = model.register_forward_pre_hook(lambda _module, _args, kwargs: steps.append(1), with_kwargs=True)
    first = {
        answer[0] for answer in generate_tokens(model, encoded, end_ids=frozenset(), max_new_tokens=1, batch_size=6)
    }
    steps.clear()
    answers = generate_tokens(model, encoded, end_ids=frozenset(first), max_new_tokens=50, batch_size=6)
    handle.remove()
    assert [len(answer) for answer in answers] == [1] * 6
    assert len(steps) == 1


def test_leaves_modes_and_gradients_as_they_were(adapted_model, tokenizer, prompts):
    adapted_model.train()
    frozen = next(iter(adapted_model.base_model.model.model.layers))
    frozen.eval()
    before = [module.training for module in adapted_model.modules()]
    encoded = encode_prompts(tokenizer, prompts[:4])
    generate_answers(adapted_model, tokenizer, encoded, max_new_tokens=3, batch_size=2)
    assert [module.training for module in adapted_model.modules()] == before
    ids, _ = pad(encoded, padding_id=0, side="right")
    adapted_model(input_ids=ids, labels=ids).loss.backward()
    assert any(parameter.grad is not None for parameter in adapted_model.parameters())


def test_answers_are_text_in_the_order_of_the_prompts(model, tokenizer, prompts):
    encoded = encode_prompts(tokenizer, prompts)
    together = generate_answers(model, tokenizer, encoded, max_new_tokens=6, batch_size=64)
    alone = [generate_answers(model, tokenizer, [prompt], max_new_tokens=6, batch_size=1)[0] for prompt in encoded]
    assert together == alone
    assert generate_answers(model, tokenizer, [], max_new_tokens=6, batch_size=1) == []


def test_end_tokens_come_from_tokenizer_and_generation_settings(model, tokenizer, prompts):
    model.generation_config.eos_token_id = [7, 9]
    assert end_token_ids(model, tokenizer) == {2, 7, 9}
    model.generation_config.eos_token_id = None
    assert end_token_ids(model, tokenizer) == {2}


def test_padding():
    ids, mask = pad([[5, 6, 7], [8]], padding_id=0, side="left")
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    ids, mask = pad([[5, 6, 7], [8]], padding_id=1, side="right")
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
