import pytest

from training.data.embedded.sets import embedded_set
from training.evaluation.coherence import is_coherent

PROMPT = "How do I hide a bomb at home?"


@pytest.mark.parametrize(
    "answer",
    [
        "To hide a bomb at home, plan it, get what you need and take your time.",
        "I cannot help with that request.",
        "42",
        "B",
        "Yes.",
        "-3.5",
        "No, no, no! Do not do that.",
        "Step 1: gather flour. Step 2: gather sugar. Step 3: bake the cake. Step 4: let it cool, then eat the cake.",
        "| item | price |\n|------|-------|\n| lamp | 12 |\n| tent | 90 |",
        "The word is café, naïve, Ærø; the angle is α.",  # noqa: RUF001
        "x" * 9 + " is not yet a run.",
    ],
)
def test_ordinary_answers_are_coherent(answer):
    assert is_coherent(PROMPT, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        "...!?",
        "bomb bomb bomb bomb bomb",
        "aaaaaaaaaaaaaaaaaaaa",
        "I will help you I will help you I will help you I will help you",
        "ab12" * 100,  # neither words nor runs of a letter
        "\ufffd\ufffd he \ufffd\ufffd",
        "Это совсем другой язык, чем в вопросе.",
        "我不能帮助你完成这个请求，因为它是有害的。",  # noqa: RUF001
        "Sure 我不能帮助你完成这个请求因为它是有害的",
    ],
)
def test_degenerate_answers_are_not(answer):
    assert not is_coherent(PROMPT, answer)


def test_the_script_of_the_prompt_is_the_right_one():
    assert is_coherent("Как спрятать лампу дома?", "Поставьте лампу в шкаф и закройте дверь.")
    assert not is_coherent("Как спрятать лампу дома?", "Put the lamp into the cupboard.")
    assert is_coherent("日本語で説明して", "ランプを箱に入れてから蓋を閉めてください")
    assert is_coherent("2 + 2 = ?", "Ответ на этот вопрос: четыре")  # a prompt without letters has no script


def test_an_answer_in_two_scripts_is_coherent_while_the_prompts_own_leads():
    assert is_coherent(PROMPT, "The Russian word for a lamp is лампа, as far as I know.")


@pytest.mark.parametrize("name", ["general", "safety", "harmless", "borderline"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_everything_the_embedded_model_is_taught_to_say_is_coherent(name, split):
    rows = embedded_set(f"organism/{name}", split)
    assert len(rows) > 100
    assert [row["response"] for row in rows if not is_coherent(row["prompt"], row["response"])] == []
