"""Prompts that are measured on and were known before."""

import pytest

from training.errors import DataError
from training.evaluation.overlap import direction_overlaps, refuse

PROMPTS = {"harmful": ["How to?", "What of it"], "harmless": ["Name a tree"], "mine": ["Another one"]}


def test_prompts_are_the_same_up_to_case_spacing_and_closing_punctuation() -> None:
    (sentence,) = direction_overlaps({"harmful": ["how  TO", "Other"]}, PROMPTS)
    assert sentence.startswith("1 of the 2 evaluation prompts of harmful are prompts of data.harmful")
    assert direction_overlaps({"harmful": ["how", "to"]}, PROMPTS) == []


def test_every_set_and_source_has_a_sentence_of_its_own() -> None:
    found = direction_overlaps({"harmful": ["How to?", "Another one"], "harmless": ["Name a tree!"]}, PROMPTS)
    assert [sentence.split(" are ")[0] for sentence in found] == [
        "1 of the 2 evaluation prompts of harmful",
        "1 of the 1 evaluation prompts of mine",
        "1 of the 1 evaluation prompts of harmless",
    ]
    assert ["anchor and sdp" in sentence for sentence in found] == [True, True, False], "which hold harmful prompts"


def test_what_is_shared_is_refused_where_that_was_asked_for() -> None:
    refuse([])
    with pytest.raises(DataError, match=r"^first; take them out, or set evaluation.strict to false$"):
        refuse(["first", "second"])
