import pytest
import torch

from training.data.chat import encode_prompts
from training.distributed.lockstep import in_step
from training.errors import ModelError
from training.models import decoding, room, row_cache
from training.models.batching import BatchSize, pad
from training.models.generation import end_token_ids, generate_answers, generate_tokens
from training.models.row_cache import RowCache


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


@pytest.mark.parametrize("kind", [pytest.param("model", marks=pytest.mark.slow), "adapted_model"])
def test_equals_transformers_token_for_token(kind, request, tokenizer, prompts, monkeypatch):
    model = request.getfixturevalue(kind)
    encoded = encode_prompts(tokenizer, prompts[::2] + prompts[1::8])
    end_ids = frozenset({2, frequent_token(model, encoded[::3])})
    expected = [transformers_generate(model, prompt, 20, end_ids) for prompt in encoded]
    for finished_share in (0.001, 0.125, 2.0):  # rows leave at once, now and then, never
        monkeypatch.setattr(decoding, "_FINISHED_SHARE", finished_share)
        answers = generate_tokens(model, encoded, end_ids=end_ids, max_new_tokens=20, batch_size=7)
        assert answers == expected
    lengths = {len(answer) for answer in answers}
    assert len(lengths) > 3, "rows must end at different steps for this test to mean anything"
    assert all(answer[-1] in end_ids or len(answer) == 20 for answer in answers)


def test_waiting_prompts_take_the_places_of_finished_rows(model, tokenizer, prompts, monkeypatch):
    monkeypatch.setattr(decoding, "_FINISHED_SHARE", 0.001)
    encoded = sorted(encode_prompts(tokenizer, prompts), key=len, reverse=True)
    ends, longest = frozenset({2, frequent_token(model, encoded[::3])}), 12
    passes, last = [], []

    def note(_module, _args, options):
        if "position_ids" in options:  # not the passes that measure the cache
            passes.append(len(options["input_ids"]))
            last.append(int(options["position_ids"].max()))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    answers = generate_tokens(model, encoded, end_ids=ends, max_new_tokens=longest, batch_size=6)
    handle.remove()
    batches = [answers[start : start + 6] for start in range(0, len(answers), 6)]
    steps = sum(max(len(answer) for answer in batch) for batch in batches)
    decoded = sum(len(answer) - 1 for answer in answers)
    assert decoded < 5 * steps, "answers of different lengths"
    assert max(passes) == 6
    # What a pass over one new prompt costs here is what the others wait for it; large batches take them by the dozen.
    assert sum(rows == 6 for rows in passes) > 0.8 * decoded / 6
    assert max(last) <= len(encoded[0]) + longest - 2, "nobody goes on behind the last position that was planned for"


def test_rows_of_a_cache_that_cannot_drop_them_go_on_as_padding(model, tokenizer, prompts, monkeypatch):
    encoded = encode_prompts(tokenizer, prompts[:8])
    ends = frozenset({2, frequent_token(model, encoded)})
    expected = generate_tokens(model, encoded, end_ids=ends, max_new_tokens=20, batch_size=8)
    assert len({len(answer) for answer in expected}) > 2

    class Opaque:
        """A cache of which nothing is known."""

    opaque = RowCache(Opaque(), model.device)
    assert (opaque.joins, opaque.keep([0])) == (False, None)
    monkeypatch.setattr(row_cache, "_JOINABLE", ())
    monkeypatch.setattr(RowCache, "_select", lambda *_: False)
    assert generate_tokens(model, encoded, end_ids=ends, max_new_tokens=20, batch_size=8) == expected


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


def impossible_allocation():
    torch.empty(2**60, dtype=torch.uint8)


def accelerator_error():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("fail", [impossible_allocation, accelerator_error])
def test_a_batch_that_does_not_fit_is_halved_for_good(fail, model, tokenizer, prompts):
    encoded = encode_prompts(tokenizer, prompts[:20])
    expected = generate_tokens(model, encoded, end_ids=frozenset({2}), max_new_tokens=6, batch_size=20)
    tried = []

    def no_room_for_more_than_six(_module, _args, kwargs):
        tried.append(len(kwargs["input_ids"]))
        if tried[-1] > 6:
            fail()

    size = BatchSize(16)
    handle = model.register_forward_pre_hook(no_room_for_more_than_six, with_kwargs=True)
    try:
        found = [
            generate_tokens(model, encoded, end_ids=frozenset({2}), max_new_tokens=6, batch_size=size) for _ in range(2)
        ]
    finally:
        handle.remove()
    assert found == [expected, expected]
    assert size.value == 4
    assert [tried.count(rows) for rows in (16, 8)] == [1, 1], "what did not fit once is not tried again"


def test_as_many_prompts_are_answered_at_once_as_there_is_room_for(model, tokenizer, prompts, monkeypatch):
    encoded = encode_prompts(tokenizer, prompts)
    expected = generate_tokens(model, encoded, end_ids=frozenset({2}), max_new_tokens=4, batch_size=48)
    longest = max(map(len, encoded))
    config = model.config
    width = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    with in_step(model, model.device) as forward:
        assert room._cache_bytes(model, forward) == (0, width)
        # Three prompts of the longest, by their cache and by what the forward pass over them takes.
        monkeypatch.setattr(
            room, "CPU_BYTES", 3.5 / 0.8 * (width * (longest + 4) + longest * room._activation_bytes(model))
        )
        fitting = room.rows_decoded(model, forward, 4)
        assert fitting(longest) == 3
        assert fitting(longest // 2) > 3
        assert fitting(10**6) == 1
    rows = []
    handle = model.register_forward_pre_hook(
        lambda _module, _args, options: rows.append(len(options["input_ids"])), with_kwargs=True
    )
    found = generate_tokens(model, encoded, end_ids=frozenset({2}), max_new_tokens=4, batch_size=1024)
    handle.remove()
    assert found == expected
    assert rows[0] == 3
    assert max(rows) > 3, "shorter prompts have more room"


def test_a_single_prompt_that_does_not_fit_is_a_clear_error(model, tokenizer, prompts):
    handle = model.register_forward_pre_hook(lambda *_: impossible_allocation())
    try:
        with pytest.raises(ModelError, match=r"lower evaluation\.max_length or evaluation\.max_new_tokens"):
            generate_answers(model, tokenizer, [[5, 6], [7]], max_new_tokens=2, batch_size=2)
    finally:
        handle.remove()


def test_other_errors_are_not_taken_for_a_lack_of_memory(model):
    def fail(*_):
        raise RuntimeError("deliberate")

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="deliberate"):
        generate_tokens(model, [[5, 6]], end_ids=frozenset({2}), max_new_tokens=2, batch_size=2)


def test_an_answer_goes_on_from_its_prefill(model, tokenizer, prompts):
    encoded = encode_prompts(tokenizer, prompts[:6])
    start = tokenizer("Sure, a kite", add_special_tokens=False)["input_ids"]
    whole = [[*ids, *start] for ids in encoded]
    expected = [[*start, *transformers_generate(model, ids, 8, {2})] for ids in whole]
    found = generate_answers(
        model, tokenizer, encoded, max_new_tokens=8, batch_size=4, prefills=[start for _ in encoded]
    )
    assert found == tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert all(answer.startswith("Sure, a kite") for answer in found)


def test_a_prompt_of_two_sets_is_answered_once(model, tokenizer, prompts):
    encoded = encode_prompts(tokenizer, prompts[:3])
    rows = []
    handle = model.register_forward_pre_hook(
        lambda _module, _args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        answers = generate_answers(model, tokenizer, [*encoded, *encoded], max_new_tokens=3, batch_size=8)
    finally:
        handle.remove()
    assert max(rows) == 3
    assert answers[:3] == answers[3:]
