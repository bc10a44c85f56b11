"""How samples are grouped into passes of the initial model, and their values put together."""

import numpy as np
import pytest

from training.constraints.references.passes import gathered_on_rank_zero, passes


@pytest.mark.parametrize("tokens", [40, 64, 1000])
def test_every_sample_has_one_pass_and_no_pass_more_tokens_than_asked(tokens: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 40, size=101)
    found = passes(lengths, tokens)
    assert sorted(np.concatenate(found).tolist()) == list(range(101))
    assert max(lengths[group].max() * len(group) for group in found) <= tokens
    assert lengths[np.concatenate(found)].tolist() == sorted(lengths.tolist(), reverse=True)
    fullest = [lengths[one].max() * (len(one) + 1) > tokens for one in found[:-1]]
    assert all(fullest), "one more would not fit"


def test_a_sample_longer_than_a_pass_has_one_of_its_own() -> None:
    assert [group.tolist() for group in passes(np.array([5, 50, 4]), 10)] == [[1], [0, 2]]


def test_rows_go_where_they_belong() -> None:
    whole = np.zeros((3, 2))
    parts = [(np.array([2]), np.array([[5.0, 6.0]])), (np.array([1, 0]), np.array([[3.0, 4.0], [1.0, 2.0]]))]
    assert gathered_on_rank_zero(parts, whole).tolist() == [[1, 2], [3, 4], [5, 6]]
