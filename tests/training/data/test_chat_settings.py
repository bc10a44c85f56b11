"""Chat templates that print the date or read arguments say the same wherever and whenever they are rendered."""

from datetime import date

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from training.config import ModelConfig
from training.data.chat import encode_prompts, encode_samples
from training.data.chat_settings import ChatSettings
from training.data.samples import Samples
from training.errors import ModelError
from training.models.loading import load_tokenizer

LLAMA_32 = (
    "{%- if not date_string is defined %}\n"
    '    {%- if strftime_now is defined %}\n        {%- set date_string = strftime_now("%d %b %Y") %}\n'
    '    {%- else %}\n        {%- set date_string = "26 Jul 2024" %}\n    {%- endif %}\n{%- endif %}\n'
    "{{- '<|im_start|>system\n\nToday Date: ' + date_string + '<|im_end|>' }}\n"
    "{%- for m in messages %}\n"
    "    {{- '<|im_start|>' + m['role'] + '\n\n' + m['content'] | trim + '<|im_end|>' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\n\n' }}\n{%- endif %}\n"
)
GPT_OSS = (
    "{%- macro system() -%}\n"
    '{{- "Current date: " + strftime_now("%Y-%m-%d") + "\n\nReasoning: " + (effort or "medium") }}\n'
    "{%- endmacro -%}\n"
    "{{- '<|im_start|>' + system() + '<|im_end|>' }}{%- for m in messages -%}\n"
    "{{- '<|im_start|>' + m.role + '<|im_end|>' + m.content }}{%- endfor -%}"
)
DAY = date(2024, 2, 9)


@pytest.fixture
def with_template(chat_tokenizer, tmp_path):
    """A saved model whose tokenizer has another template."""

    def make(template):
        chat_tokenizer.save_pretrained(tmp_path)
        made = PreTrainedTokenizerFast.from_pretrained(tmp_path)
        made.chat_template = template
        made.save_pretrained(tmp_path)
        return tmp_path

    return make


def prompt(tokenizer):
    return tokenizer.apply_chat_template([{"role": "user", "content": "bake"}], tokenize=False)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (LLAMA_32, "Today Date: 09 Feb 2024<"),
        (GPT_OSS, "Current date: 2024-02-09\n\nReasoning: medium<"),
        ("{{ strftime_now('%B %-d' ~ ', %Y, %A') }}|", "February 9, 2024, Friday|"),
        ("{{ strftime_now('100%% at %H:%M, %%d') }}|", "100% at 00:00, %d|"),
        ("\n  {% if true %}a{% endif %}\n{{ strftime_now('%d') | int + 1 }}|", "a10|"),
    ],
)
def test_a_template_that_asks_for_the_date_is_told_the_sweeps(with_template, template, said):
    tokenizer = load_tokenizer(with_template(template), ChatSettings(date=DAY))
    assert said in prompt(tokenizer)


@pytest.mark.parametrize("template", [LLAMA_32, GPT_OSS])
def test_midnight_changes_no_sample_and_no_prompt(with_template, template, monkeypatch):
    """Two drivers, one before and one after midnight; the second was handed the day of the first."""
    from transformers.utils import chat_template_utils

    def seen(clock, settings):
        class Clock(chat_template_utils.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(*clock)

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)
        tokenizer = load_tokenizer(path, settings)
        samples = Samples.encode(tokenizer, ["bake bread"], ["well then"], 256)
        return samples.fingerprint, encode_prompts(tokenizer, ["cut grass"])

    path = with_template(template)
    before, after = (2024, 2, 9, 23, 59), (2024, 2, 10, 0, 1)
    assert seen(before, ChatSettings())[0] != seen(after, ChatSettings())[0], "as published, the prompts change"
    assert seen(before, ChatSettings(date=DAY)) == seen(after, ChatSettings(date=DAY)) == seen(before, ChatSettings())


def test_a_template_without_settings_is_left_alone(with_template):
    path = with_template("{{ messages[0].content }}\n")
    assert load_tokenizer(path, ChatSettings(date=DAY)).chat_template == load_tokenizer(path).chat_template


def test_arguments_reach_the_template_as_transformers_would_hand_them_over(with_template):
    template = (
        "{%- macro shown() %}{{ thinking }}/{{ names | join(',') }}{% endmacro -%}\n"
        "{{ '<|im_start|>' }}{% if thinking is defined and thinking is false %}off{% endif %}{{ shown() }}{{ note }}"
    )
    arguments = {"thinking": False, "names": ["a", "b"], "note": 'it\'s "{% raw %}"\n\u00e9\U0001f600'}
    path = with_template(template)
    chat = [{"role": "user", "content": "bake"}]
    expected = load_tokenizer(path).apply_chat_template(chat, tokenize=False, **arguments)
    assert "off" in expected
    assert prompt(load_tokenizer(path, ChatSettings(arguments))) == expected


def test_an_argument_that_the_template_does_not_read_is_refused(with_template):
    path = with_template(GPT_OSS)
    with pytest.raises(ModelError, match=r"chat_template_kwargs \(efort\) is read nowhere in the chat template of"):
        load_tokenizer(path, ChatSettings({"efort": "low"}))
    assert "Reasoning: low" in prompt(load_tokenizer(path, ChatSettings({"effort": "low"})))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            {"path": "organism", "chat_template_kwargs": {"a": 1}},
            r"chat_template_kwargs \(a\) has no effect on organism",
        ),
        ({"path": "m", "chat_template_kwargs": {"messages": 1}}, r"\(messages\) is no variable that can be set"),
        ({"path": "m", "chat_template_kwargs": {"a-b": 1}}, r"\(a-b\) is no variable that can be set"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(model, sentence):
    with pytest.raises(ValidationError, match=sentence):
        ModelConfig(name="m", **model)


def test_what_is_exported_is_the_template_as_published(with_template, tmp_path, process):
    from benches import bench, write_files

    from training.config import TrialConfig
    from training.workbench import Workbench

    published = load_tokenizer(with_template(LLAMA_32))
    folder = tmp_path / "bench"
    folder.mkdir()
    write_files(folder, published)
    usual = bench(folder)
    made = Workbench(
        usual.model_path,
        usual.data,
        usual.direction_config,
        usual.evaluation,
        folder / "out",
        name="tiny",
        chat=ChatSettings(date=DAY),
    )
    trial = TrialConfig.model_validate({"steps": 1, "batch_size": 2, "max_length": 128})
    made.run(trial, lambda _report: False, save=folder / "saved")
    assert "09 Feb 2024" in made.tokenizer.decode(encode_samples(made.tokenizer, ["a"], ["b"], 128)[0].input_ids)
    assert load_tokenizer(folder / "saved").chat_template == published.chat_template
