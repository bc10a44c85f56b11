"""Where the samples of a packed row begin, as flash-attention and recurrences are told it."""

import torch

from training.models.packed_inputs import _boundaries


def test_samples_begin_where_positions_do_and_padding_stands_alone() -> None:
    found = _boundaries(torch.tensor([0, 1, 2, 0, 1, 0, 0]))
    assert found["seq_idx"].tolist() == [[0, 0, 0, 1, 1, 2, 3]]
    assert found["cu_seq_lens_q"].tolist() == found["cu_seq_lens_k"].tolist() == [0, 3, 5, 6, 7]
    assert found["max_length_q"] == found["max_length_k"] == 3
    assert (found["seq_idx"].dtype, found["cu_seq_lens_q"].dtype) == (torch.int32, torch.int32)
