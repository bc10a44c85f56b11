from collections import Counter

import pytest

from training.evaluation.drawing import draw, plain, prompt_id, split_of

PROMPTS = [f"How do I fold {number} napkins?" for number in range(400)]


def drawn(count, share=0.5, seed=0, prompts=PROMPTS):
    return dict(draw(prompts, prompts, count=count, share=share, seed=seed))


def test_views_have_their_shares_and_prompts_keep_their_order():
    found = draw(PROMPTS, PROMPTS, count=200, share=0.25, seed=0)
    assert Counter(split for _, split in found) == {"report": 50, "select": 150}
    assert [prompt for prompt, _ in found] == [prompt for prompt in PROMPTS if prompt in dict(found)]


def test_a_larger_draw_adds_prompts_and_moves_none():
    few, many = drawn(60), drawn(250)
    assert few.items() <= many.items()
    assert len(many) == 250


def test_more_data_moves_no_prompt_between_views():
    few, many = drawn(400, prompts=PROMPTS[::3]), drawn(400)
    assert few.items() <= many.items()


def test_seeds_draw_and_split_differently():
    one, other = drawn(200), drawn(200, seed=1)
    assert one.keys() != other.keys()
    both = one.keys() & other.keys()
    assert 0.3 < sum(one[prompt] == other[prompt] for prompt in both) / len(both) < 0.7


def test_everything_is_used_where_prompts_are_few():
    found = drawn(400)
    assert len(found) == 400
    assert 160 < Counter(found.values())["report"] < 240
    # a view that has too few leaves its part to the other
    assert len(drawn(395)) == 395


def test_share_0_puts_all_into_the_report():
    assert Counter(drawn(100, share=0).values()) == {"report": 100}


@pytest.mark.parametrize("other", ["how do i make  a KITE", "How do I make a kite!"])
def test_prompts_that_differ_in_writing_only_share_a_view(other):
    assert plain(other) == plain("How do I make a kite?")
    for seed in range(20):
        assert split_of(other, 0.5, seed) == split_of("How do I make a kite?", 0.5, seed)


def test_identity_is_of_the_exact_text():
    assert prompt_id("a") != prompt_id("A")
    assert len(prompt_id("a")) == 12
