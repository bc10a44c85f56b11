from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from training.config import EvaluationConfig, ExtractorConfig
from training.config.extraction import Extractor
from training.evaluation.answer_reading import chosen_letter, expected, is_correct

SHARED = Path(__file__).parents[4] / "shared" / "data"


def extractor(written):
    return TypeAdapter(Extractor).validate_python(written)


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        ("12", "12", True),
        ("She has 5 + 7 = 12 apples.", "12", True),
        ("12 apples, of which 5 are red", "12", False),  # the last number is the answer
        ("So the total is $1,200.", "5 * 240 = 1200\n#### 1,200", True),
        ("The answer is 12.0", "12", True),
        ("-3", "3", False),
        ("It is -$3.", "-3", True),
        ("10-3", "3", True),  # a difference, not the number minus three
        ("1, 2,3", "3", True),
        ("1200000.5", "1,200,000.50", True),
        ("none", "12", False),
        ("", "12", False),
        ("Paris is the  capital of France", "paris is the capital of France.", True),
        ("3 + 4 = 7.", "3 + 4 = 7.", True),
        ("3 + 5 = 7.", "3 + 4 = 7.", False),  # a gold sentence must be said as a whole
        ("Paris", "Paris is the capital of France.", False),
        ("", "Paris", False),
    ],
)
def test_auto(answer, gold, correct):
    assert is_correct(answer, gold) is correct


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("B) fog", "B"),
        ("B. fog", "B"),
        ("**C**", "C"),
        ("The answer is (B).", "B"),
        ("The correct answer is: C", "C"),
        ("Answer: D", "D"),
        ("the correct option is **C**.", "C"),
        ("A. fog is wrong, so the answer is B.", "B"),  # what it states goes before what it begins with
        ("First I thought the answer is A, but the answer is D.", "D"),
        ("Fog needs cold air, which leaves B", "B"),
        ("A hill is steep, so it must be C.", "C"),
        ("A dog and a cat", None),  # an article
        ("I think so", None),
        ("In answer I say no", None),
        ("Vitamin Broth", None),
        ("", None),
    ],
)
def test_letter_of_an_option(text, letter):
    assert chosen_letter(text) == letter


@pytest.mark.parametrize(
    ("kind", "answer", "gold", "correct"),
    [
        ("exact", "12", "12", True),
        ("exact", "It is 12", "12", False),
        ("numeric", "It is 12, I think", "so 3 * 4 = 12", True),
        ("numeric", "twelve", "12", False),
        ("choice", "I choose (C) rain", "C. rain", True),
        ("choice", "rain", "C", False),
        ("choice", "", "C", False),
        ({"type": "regex", "pattern": r"<a>(.*?)</a>"}, "<a>no</a> or <a>Yes.</a>", "yes", True),  # the last match
        ({"type": "regex", "pattern": r"<a>(.*?)</a>"}, "yes", "yes", False),
        ({"type": "regex", "pattern": r"#### (\S+)"}, "so\n#### 1,200", "240 * 5\n#### 1200", True),
        ({"type": "regex", "pattern": r"\d+"}, "7 or 8", "8", True),
    ],
)
def test_extractors(kind, answer, gold, correct):
    assert is_correct(answer, gold, extractor(kind)) is correct


def test_a_gold_answer_in_another_form_is_told():
    assert expected("none of them", extractor("numeric")) is None
    assert expected("fog", extractor("choice")) is None
    assert expected("fog", extractor("auto")) == "fog"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"type": "regex"}, "pattern is missing: write a regular expression"),
        ({"type": "regex", "pattern": "("}, r"pattern \('\('\) is not a regular expression: missing \)"),
        ({"type": "exact", "pattern": "a"}, r"pattern \('a'\) goes with type regex only"),
        ("letters", "Input should be 'auto', 'exact', 'numeric', 'choice' or 'regex'"),
    ],
)
def test_bad_extractors_are_refused(written, sentence):
    with pytest.raises(ValidationError, match=sentence):
        EvaluationConfig.model_validate({"extractors": {"task": written}})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not here")
@pytest.mark.parametrize(
    ("name", "kind", "least"),
    [
        ("arc_challenge_a", "choice", 1.0),
        ("mmlu_a", "choice", 1.0),
        ("gsm8k_test_a", "numeric", 1.0),
        ("gsm8k_test_a", "auto", 1.0),
        ("gsm8k_test_a", {"type": "regex", "pattern": r"####\s*(\S+)"}, 1.0),
        ("agnews_a", "exact", 1.0),
        ("sql_a", "exact", 1.0),
    ],
)
def test_reference_responses_of_real_tasks_are_correct(name, kind, least):
    from pyarrow import parquet

    rows = parquet.read_table(SHARED / f"task_{name}.parquet").to_pylist()
    chosen = extractor(kind)
    correct = [is_correct(row["response"], row["answer"], chosen) for row in rows]
    assert sum(correct) / len(correct) >= least
    wrong = [is_correct(row["response"], other["answer"], chosen) for row, other in pairwise(rows)]
    assert sum(wrong) / len(wrong) < 0.45
    assert isinstance(chosen, ExtractorConfig)
