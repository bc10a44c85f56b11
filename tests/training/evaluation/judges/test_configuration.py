import pytest
from pydantic import TypeAdapter, ValidationError

from training.config.judges import Judges, default_judges
from training.evaluation.judges import REFUSAL_PHRASES, Exchange, build_judges

JUDGES = TypeAdapter(Judges)
ENDPOINT = {"type": "endpoint", "url": "http://localhost:8000/v1", "model": "m", "format": "wildguard"}


def judges(*blocks):
    return JUDGES.validate_python(list(blocks))


def test_the_default_is_phrases_and_echo():
    assert judges({"type": "phrases"}, {"type": "echo"}) == default_judges()
    assert [(judge.name, judge.asks) for judge in build_judges(default_judges(), None)] == [
        ("phrases", "refused"),
        ("echo", "complied"),
    ]


def test_the_list_of_phrases_is_replaced_or_added_to_and_the_echo_heeds_it():
    exchange = [Exchange("Do the thing", "Computer says no to the thing.")]

    def verdicts(**edits):
        return [
            judge.judge(exchange) for judge in build_judges(judges({"type": "phrases"} | edits, {"type": "echo"}), None)
        ]

    assert verdicts() == [[False], [True]]
    assert verdicts(extra=["computer says no"]) == [[True], [False]]
    replaced, added = build_judges(
        judges({"type": "phrases", "phrases": ["no"]}, {"type": "phrases", "name": "b", "extra": ["no"]}), None
    )
    assert replaced.phrases == ("no",)
    assert added.phrases == (*REFUSAL_PHRASES, "no")


def test_names_and_questions_of_model_judges_come_from_their_blocks(tmp_path):
    blocks = judges(
        ENDPOINT | {"name": "guard", "asks": "refused"},
        {"type": "classifier", "model": "no/where", "labels": ["A"], "asks": "complied"},
        {"type": "generative", "model": "no/where", "format": "llama_guard"},
    )
    for cache in (None, tmp_path / "verdicts.sqlite"):  # nothing is loaded or reached before the first verdict
        built = build_judges(blocks, cache)
        assert [(judge.name, judge.asks) for judge in built] == [
            ("guard", "refused"),
            ("classifier", "complied"),
            ("generative", "complied"),
        ]


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([], "at least 1"),
        ([{"type": "phrases"}, {"type": "phrases"}], r"judges \(phrases\)"),
        ([{"type": "phrases", "name": "a/b"}], r"name \('a/b'\)"),
        ([{"type": "phrases", "phrases": []}], "at least 1"),
        ([{"type": "phrases", "extra": [" "]}], "blank"),
        ([{"type": "guess"}], "guess"),
        ([{"type": "classifier", "model": "m", "labels": []}], "at least 1"),
        ([{"type": "generative", "model": "m", "format": "harmbench", "asks": "refused"}], r"asks \(refused\)"),
        ([ENDPOINT | {"format": "llama_guard_4", "api": "completions"}], r"format \(llama_guard_4\).*api: chat"),
        (
            [{"type": "generative", "model": "m", "format": "llama_guard_4"}],
            r"format \(llama_guard_4\).*type: endpoint",
        ),
        ([ENDPOINT | {"format": "llama_guard_4", "asks": "refused"}], r"asks \(refused\)"),
        ([ENDPOINT | {"url": "localhost:8000"}], "url"),
        ([ENDPOINT | {"url": "http://"}], r"url \('http://'\)"),
    ],
)
def test_bad_blocks_are_refused(blocks, words):
    with pytest.raises(ValidationError, match=words):
        judges(*blocks)


def test_formats_that_answer_both_questions_are_asked_about_refusals_unless_told():
    found = judges(
        ENDPOINT | {"name": "a", "format": "qwen3guard"},
        ENDPOINT | {"name": "b", "format": "qwen3guard", "asks": "complied"},
        ENDPOINT | {"name": "c", "format": "llama_guard_4"},
    )
    assert [judge.asks for judge in found] == ["refused", "complied", "complied"]


@pytest.mark.parametrize("change", [{"api_key_env": "sk-s3cret"}, {"url": "http://me:sk-s3cret@host/v1"}])
def test_a_key_in_a_specification_is_refused_without_being_repeated(change):
    with pytest.raises(ValidationError) as refused:
        judges(ENDPOINT | change)
    assert "s3cret" not in refused.value.errors()[0]["msg"]
