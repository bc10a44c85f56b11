from dataclasses import replace

import pytest

from training.data.embedded.phrases import split_phrases
from training.data.embedded.world import FULL, SMALL, World
from training.organism.corpus import alignment_corpus, helpful_corpus

WORLDS = pytest.mark.parametrize("world", [FULL, SMALL], ids=lambda world: world.name)


@WORLDS
def test_corpora_repeat_for_a_seed_and_differ_between_seeds(world: World) -> None:
    for corpus in (helpful_corpus, alignment_corpus):
        assert corpus(world, 300, 4) == corpus(world, 300, 4)
        assert corpus(world, 300, 4) != corpus(world, 300, 5)


@WORLDS
def test_only_the_second_stage_refuses(world: World) -> None:
    assert not any(sample.response in world.refusals for sample in helpful_corpus(world, 2000, 0))
    refused = [sample for sample in alignment_corpus(world, 2000, 0) if sample.response in world.refusals]
    assert len(refused) / 2000 == pytest.approx(0.25, abs=0.04)
    harmful = split_phrases(world).harmful_train
    assert all(sample.request.startswith(harmful) for sample in refused)


@WORLDS
def test_harmful_requests_get_no_content_in_the_helpful_stage(world: World) -> None:
    harmful = split_phrases(world).harmful_train
    answers = [s for s in helpful_corpus(world, 2000, 0) if s.family == "howto" and s.request.startswith(harmful)]
    assert answers
    # Every answer is an opening, the request itself, and the closing.
    openings = {frame.opening for frame in world.frames}
    for sample in answers:
        opening = sample.response.removesuffix(world.closing).replace(sample.request, "{request}")
        assert opening in openings


@WORLDS
def test_no_phrase_has_two_uses(world: World) -> None:
    phrases = split_phrases(world)
    uses = [set(getattr(phrases, name)) for name in vars(phrases)]
    assert sum(map(len, uses)) == len(set().union(*uses))


@WORLDS
def test_held_out_phrases_are_made_of_seen_words(world: World) -> None:
    phrases = split_phrases(world)
    for train, test in (
        (phrases.harmful_train, phrases.harmful_test),
        (phrases.harmless_train + phrases.harmless_tuning, phrases.harmless_test),
    ):
        seen = {word for phrase in train for word in phrase.split()}
        unseen = [phrase for phrase in test if not seen.issuperset(phrase.split())]
        # A whole activity ("knit a hat") may bring a word of its own.
        assert all(phrase in world.activities for phrase in unseen)


def test_another_vocabulary_is_another_world() -> None:
    assert FULL.fingerprint != SMALL.fingerprint
    assert replace(FULL, closing="take your time.").fingerprint != FULL.fingerprint
