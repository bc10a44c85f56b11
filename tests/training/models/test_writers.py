"""Which parts of a layer add to the residual stream, told from numbers whose sum is known."""

import pytest
import torch
from torch import Tensor

from training.models.writers import _explained

ROWS, WIDTH = 48, 16


def noise(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))


INPUT, ATTENTION, MLP, OTHER = noise(0, 3.0), noise(1), noise(2), noise(3)


def writers(after: Tensor, *parts: tuple[str, Tensor]) -> list[str] | None:
    return _explained(INPUT, list(parts), after, torch.float32)


def test_what_is_added_writes_and_what_is_not_does_not() -> None:
    parts = (("norm", OTHER), ("attention", ATTENTION), ("mlp", MLP))
    assert writers(INPUT + ATTENTION + MLP, *parts) == ["attention", "mlp"]
    assert writers(INPUT + MLP, *parts) == ["mlp"]
    assert writers(INPUT + 0.22 * ATTENTION + 0.22 * MLP, *parts) == ["attention", "mlp"], "a multiplier is allowed"


def test_a_small_contribution_is_found_among_large_entries() -> None:
    small = noise(4, 1e-3)
    assert writers(INPUT + ATTENTION + small, ("attention", ATTENTION), ("mlp", small)) == ["attention", "mlp"]


def test_of_two_that_put_out_the_same_the_earlier_writes() -> None:
    parts = (("attention", ATTENTION), ("dropout", ATTENTION.clone()), ("mlp", MLP))
    assert writers(INPUT + ATTENTION + MLP, *parts) == ["attention", "mlp"]


@pytest.mark.parametrize("after", [INPUT + ATTENTION * MLP, INPUT + ATTENTION + noise(5, 1e-3), INPUT[:, :8]])
def test_an_output_that_is_no_sum_is_not_explained(after: Tensor) -> None:
    assert writers(after, ("attention", ATTENTION), ("mlp", MLP)) is None


def test_a_part_that_adds_the_input_itself_cannot_be_told_apart() -> None:
    assert writers(INPUT + ATTENTION, ("attention", INPUT + ATTENTION)) is None
