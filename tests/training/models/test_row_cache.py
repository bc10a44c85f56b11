import random

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from training.models.row_cache import RowCache

CPU = torch.device("cpu")


@pytest.fixture
def uninitialised_memory_is_no_number():
    torch.use_deterministic_algorithms(True)  # which fills it so
    yield
    torch.use_deterministic_algorithms(False)


def prefilled(lengths, window):
    """The cache of prompts of such lengths, padded on the left, and the keys of each row without its padding."""
    columns = max(lengths)
    keys = torch.randn(len(lengths), 2, columns, 3)
    cache = DynamicCache()
    cache.layers = [DynamicLayer() if window is None else DynamicSlidingWindowLayer(window)]
    cache.update(keys, -keys, 0)
    return RowCache(cache, CPU), [row[:, columns - length :] for row, length in zip(keys, lengths, strict=True)]


@pytest.mark.usefixtures("uninitialised_memory_is_no_number")
@pytest.mark.parametrize("window", [None, 2, 7, 40])
def test_every_row_sees_its_own_tokens_whatever_the_others_do(window):
    draw = random.Random(0)
    torch.manual_seed(0)
    cache, rows = prefilled([9, 4, 6, 9], window)
    columns, seen = 9, set()
    for _ in range(300):
        action = draw.choice(["step"] * 6 + ["keep", "join"])
        longest = max(row.shape[1] for row in rows)
        if action == "keep" and len(rows) > 1:
            kept = sorted(draw.sample(range(len(rows)), draw.randint(1, len(rows) - 1)))
            order = cache.keep(kept)
            assert sorted(order) == kept
            rows = [rows[row] for row in order]
            unused = columns - max(row.shape[1] for row in rows)
            assert cache.forget(unused)
            columns -= unused
            seen.add("forget") if unused else None
        elif action == "join" and len(rows) < 12:
            lengths = [draw.randint(1, longest) for _ in range(draw.randint(1, 4))]
            other, others = prefilled(lengths, window)
            cache.join(other, draw.randint(0, 12))
            rows += others
        else:
            new = torch.randn(len(rows), 2, 1, 3)
            size, offset = cache.cache.get_mask_sizes(1, 0)
            keys, values = cache.cache.update(new, -new, 0)
            columns += 1
            rows = [torch.cat([row, one], dim=1) for row, one in zip(rows, new, strict=True)]
            assert (offset, offset + size) == (columns - keys.shape[2], columns)
            assert keys.shape[2] == (columns if window is None else min(columns, window))
            assert torch.equal(values, -keys)
            assert keys.isfinite().all(), "what is masked is multiplied by 0"
            for found, row in zip(keys, rows, strict=True):
                told = min(row.shape[1], keys.shape[2])
                assert torch.equal(found[:, -told:], row[:, -told:])
        assert cache.cache.get_seq_length() == columns
        seen.add(action)
    assert seen == {"step", "keep", "join", "forget"}


def test_a_cache_of_an_unknown_kind_takes_nobody_in_and_drops_rows_as_it_can():
    class Other(DynamicLayer):
        """Whose rows may hang together in a way that is not known."""

    cache = DynamicCache()
    cache.layers = [Other()]
    cache.update(torch.arange(6.0).reshape(3, 1, 2, 1), torch.zeros(3, 1, 2, 1), 0)
    rows = RowCache(cache, CPU)
    assert not rows.joins
    assert not rows.forget(1)
    assert rows.keep([0, 2]) == [0, 2]
    assert cache.layers[0].keys.flatten().tolist() == [0, 1, 4, 5]
