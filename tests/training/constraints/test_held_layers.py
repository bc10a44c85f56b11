"""Whose outputs a constraint holds."""

import pytest

from training.constraints.layers import chosen_layers, held_layers
from training.errors import ModelError


def test_the_input_of_a_block_is_the_output_of_the_one_before() -> None:
    assert held_layers([1, 3], "block_output", 4) == [1, 3]
    assert held_layers([1, 3], "block_input", 4) == [0, 2]
    assert held_layers("all", "block_input", 4) == [0, 1, 2], "the embedding has no refusal direction"
    assert held_layers(1, "block_input", 4) == [0]


def test_an_embedding_alone_cannot_be_held() -> None:
    assert held_layers(0, "block_output", 4) == [0]
    with pytest.raises(ModelError, match=r"constraint.layers \(0\) with site block_input is the embedding"):
        held_layers(0, "block_input", 4)


def test_a_layer_that_the_model_lacks_is_named_with_its_field() -> None:
    with pytest.raises(ModelError, match=r"^constraint.layers \(4\) names layer 4.*4 decoder layers"):
        chosen_layers(4, 4)
