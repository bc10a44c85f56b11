"""How samples are grouped into passes of the initial model, and their values put together."""

import numpy as np
import pytest
import torch

from training.constraints.references.passes import gathered_on_rank_zero, in_passes, passes
from training.data.samples import Integers
from training.errors import ModelError


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


class TestMemory:
    LENGTHS = np.random.default_rng(1).integers(1, 20, size=50)

    def test_passes_are_made_as_grouped(self) -> None:
        made = [group.tolist() for group, _ in in_passes(self.LENGTHS, lambda group: group, 60)]
        assert made == [group.tolist() for group in passes(self.LENGTHS, 60)]

    def test_where_it_runs_out_passes_become_smaller_and_no_sample_is_lost(self) -> None:
        tried: list[int] = []

        def compute(group: Integers) -> list[int]:
            tried.append(len(group))
            if len(group) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return [2 * int(one) for one in group]

        found = {
            int(one): twice
            for group, values in in_passes(self.LENGTHS, compute, 200)
            for one, twice in zip(group, values, strict=True)
        }
        assert found == {one: 2 * one for one in range(50)}
        assert sum(size > 3 for size in tried) == 2, "10, then 5, and 2 from then on"

    def test_in_lockstep_the_others_would_wait(self) -> None:
        def compute(_group: Integers) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        with pytest.raises(torch.OutOfMemoryError):
            next(in_passes(self.LENGTHS, compute, lockstep=True))
        with pytest.raises(ModelError, match="a single prompt"):
            next(in_passes(self.LENGTHS, compute))


def test_rows_go_where_they_belong() -> None:
    whole = np.zeros((3, 2))
    parts = [(np.array([2]), np.array([[5.0, 6.0]])), (np.array([1, 0]), np.array([[3.0, 4.0], [1.0, 2.0]]))]
    assert gathered_on_rank_zero(parts, whole).tolist() == [[1, 2], [3, 4], [5, 6]]
