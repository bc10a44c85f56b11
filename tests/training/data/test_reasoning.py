"""Thoughts are taken off answers, and a model that will not end them in time is told of."""

import json

import pytest
from transformers import PreTrainedTokenizerFast

from orchestrator.driver.model_files import thinking_warning
from training.config import ModelConfig, ReasoningMarks
from training.data.chat import answer_lead, encode_prompts, opening_ids
from training.data.chat_settings import ChatSettings
from training.data.reasoning import KNOWN, Reasoning, end_of_thought, reasoning_of
from training.models.loading import load_tokenizer
from training.models.replies import read_replies

QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% set content = m['content'].split('</think>')[-1].lstrip('\n') %}<think>\n"
    "{{ m['content'].split('</think>')[0].split('<think>')[-1].strip() if '</think>' in m['content'] }}\n</think>\n\n"
    "{{ content }}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
DEEPSEEK = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{% if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}<|return|>{% else %}"
    "<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
SPECIALS = ["<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"]


@pytest.fixture(scope="module")
def folder(chat_tokenizer, tmp_path_factory):
    """Saves the tests' tokenizer, with the tokens of thoughts, under another template."""

    def make(template):
        where = tmp_path_factory.mktemp("thinking")
        chat_tokenizer.save_pretrained(where)
        made = PreTrainedTokenizerFast.from_pretrained(where)
        made.add_tokens(["<think>", "</think>"])
        made.add_special_tokens({"additional_special_tokens": SPECIALS})
        made.chat_template = template
        made.save_pretrained(where)
        return where

    return make


@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer"),
    [
        ("Sure.", False, None, "Sure."),
        ("<think>\nhm\n</think>\n\nSure.", False, "hm", "Sure."),
        ("<think>\n\n</think>\n\nSure.", False, "", "Sure."),
        ("hm</think>Sure.", True, "hm", "Sure."),
        ("hm</think>Sure.", False, "hm", "Sure."),
        ("<think>hm, on and on", False, "hm, on and on", ""),
        ("on and on", True, "on and on", ""),
        ("<think>one</think>A <think>two</think>B", False, "one\ntwo", "A B"),
    ],
)
def test_thought_and_answer(text, opened, thought, answer):
    assert KNOWN[0].split(text, opened=opened) == (thought, answer)


@pytest.mark.parametrize(
    ("template", "settings", "expected"),
    [
        (QWEN3, ChatSettings(), KNOWN[0]),
        (GPT_OSS, ChatSettings(), KNOWN[1]),
        ("{{ messages[0].content }}", ChatSettings(), None),
        (QWEN3, ChatSettings(reasoning="none"), None),
        (QWEN3, ChatSettings(reasoning=ReasoningMarks(open="<t>", close="</t>")), Reasoning("<t>", "</t>")),
    ],
)
def test_marks_come_from_the_template_unless_somebody_says_others(folder, template, settings, expected):
    assert reasoning_of(load_tokenizer(folder(template), settings)) == expected


def test_the_tokenizers_own_response_template_decides(folder):
    tokenizer = load_tokenizer(folder("{{ messages[0].content }}"))
    tokenizer.response_template = {"fields": {"thinking": {"open": "[T]", "close": "[/T]"}, "content": {}}}
    assert reasoning_of(tokenizer) == Reasoning("[T]", "[/T]")


def replies(tokenizer, *texts, start=""):
    begun, written = (tokenizer(list(each), add_special_tokens=False)["input_ids"] for each in ([start], texts))
    return read_replies(tokenizer, begun * len(texts), written, frozenset({tokenizer.eos_token_id}))


class TestReplies:
    def test_only_the_answer_is_judged_and_the_thought_is_kept_apart(self, folder):
        tokenizer = load_tokenizer(folder(QWEN3))
        whole, short, plain, silent = replies(
            tokenizer,
            "<think>\nI cannot do this?\n</think>\n\nbake bread<|im_end|>",
            "<think>\nI cannot",
            "bake bread<|im_end|>",
            "<|im_end|>",
        )
        assert (whole.answer, whole.reasoning) == ("bake bread", "I cannot do this?")
        assert (whole.truncated, whole.empty) == (False, False)
        assert (short.answer, short.reasoning, short.truncated, short.empty) == ("", "I cannot", True, True)
        assert (plain.answer, plain.reasoning, plain.empty) == ("bake bread", None, False)
        assert (silent.answer, silent.reasoning, silent.truncated, silent.empty) == ("", None, False, True)

    def test_a_thought_that_the_prompt_opened(self, folder):
        tokenizer = load_tokenizer(folder(DEEPSEEK))
        ended, cut = replies(tokenizer, "well\n</think>\n\nbake<|im_end|>", "well then")
        assert (ended.answer, ended.reasoning) == ("bake", "well")
        assert (cut.answer, cut.reasoning, cut.empty) == ("", "well then", True)

    def test_channels(self, folder):
        tokenizer = load_tokenizer(folder(GPT_OSS))
        both, direct, cut = replies(
            tokenizer,
            "<|channel|>analysis<|message|>well<|end|><|start|>assistant<|channel|>final<|message|>bake<|return|>",
            "<|channel|>final<|message|>bake<|return|>",
            "<|channel|>analysis<|message|>well",
        )
        assert (both.answer, both.reasoning) == ("bake", "well")
        assert (direct.answer, direct.reasoning) == ("bake", "")
        assert (cut.answer, cut.reasoning, cut.empty) == ("", "well", True)

    def test_an_answer_that_adds_nothing_to_its_prefill_is_empty(self, chat_tokenizer, folder):
        for tokenizer in (chat_tokenizer, load_tokenizer(folder(DEEPSEEK))):
            start = tokenizer.decode(opening_ids(tokenizer, "Sure, here"))
            silent, said = replies(tokenizer, "<|im_end|>", " it is<|im_end|>", start=start)
            assert (silent.answer, silent.empty) == ("Sure, here", True)
            assert (said.answer, said.empty) == ("Sure, here it is", False)


@pytest.mark.parametrize(
    ("template", "arguments", "lead"),
    [
        (QWEN3, {}, "<think>\n\n</think>\n\n"),
        (QWEN3, {"enable_thinking": False}, ""),
        (DEEPSEEK, {}, "\n</think>\n\n"),
        (GPT_OSS, {}, "<|channel|>final<|message|>"),
    ],
)
def test_the_first_word_of_an_answer_stands_behind_an_empty_thought(folder, template, arguments, lead):
    tokenizer = load_tokenizer(folder(template), ChatSettings(arguments))
    assert tokenizer.decode(answer_lead(tokenizer)) == lead
    assert tokenizer.decode(opening_ids(tokenizer, "Sure, I")) == f"{lead}Sure, I"
    assert reasoning_of(tokenizer).opened_by(tokenizer.decode(encode_prompts(tokenizer, ["bake"])[0])) == (
        template == DEEPSEEK
    )


@pytest.mark.parametrize(
    ("template", "settings", "tokens", "words"),
    [
        (QWEN3, {}, 48, r"max_new_tokens \(48\) will cut most .* chat_template_kwargs: \{enable_thinking: false\}"),
        (QWEN3, {}, 2048, None),
        (QWEN3, {"chat_template_kwargs": {"enable_thinking": False}}, 48, None),
        (QWEN3, {"reasoning": "none"}, 48, None),
        (GPT_OSS, {}, 512, r"raise it to 1024 or more; reasoning: none of the model says"),
        ("{{ messages[0].content }}", {}, 48, None),
    ],
)
def test_a_plan_says_when_thoughts_will_be_cut_short(folder, template, settings, tokens, words):
    import re

    where = folder(template)
    found = thinking_warning(ModelConfig(name="m", path=str(where), **settings), where, tokens)
    assert found is None if words is None else re.search(words, found), found
    assert found is None or found.startswith("m thinks before it answers")


def test_a_folder_without_a_template_has_no_thoughts(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({}))
    assert thinking_warning(ModelConfig(name="m", path=str(tmp_path)), tmp_path, 48) is None


@pytest.mark.parametrize(
    ("template", "reply", "answer"),
    [
        (QWEN3, "<think>\nhm\n</think>\n\nSure.", "Sure."),
        (GPT_OSS, "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Sure.", "Sure."),
    ],
    ids=["qwen3", "gpt-oss"],
)
def test_lm_eval_splits_replies_behind_the_thought(folder, template, reply, answer):
    """As lm-eval does it: what follows the last token of this id, then decoded without special tokens."""
    tokenizer = load_tokenizer(folder(template))
    end, ids = end_of_thought(tokenizer), tokenizer(reply, add_special_tokens=False)["input_ids"]
    assert isinstance(end, int)
    behind = ids[len(ids) - ids[::-1].index(end) :]
    assert tokenizer.decode(behind, skip_special_tokens=True).strip() == answer


def test_lm_eval_splits_at_the_mark_where_it_is_no_token_and_nowhere_without_thoughts(folder):
    marks = ReasoningMarks(open="[[", close="]]")
    chat = ChatSettings(reasoning=marks)
    assert end_of_thought(load_tokenizer(folder(QWEN3), chat)) == "]]"
    assert end_of_thought(load_tokenizer(folder(QWEN3), ChatSettings(reasoning="none"))) is None
