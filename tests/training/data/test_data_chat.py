"""What is trained on, under the templates that models really ship with."""

import pytest
from transformers import PreTrainedTokenizerFast

from training.data.chat import encode_chats, encode_prompts, encode_samples
from training.data.chat_template import ending_of
from training.data.encoding import encode_source, truncation_sentence
from training.errors import DataError, ModelError

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} </s>{% endif %}{% endfor %}"
)
GEMMA = (
    "<bos>{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n"
    "{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% if m.thinking %}"
    "<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}<|return|>{% else %}"
    "<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
ALPACA = (
    "{% for m in messages %}### {{ {'user': 'Instruction', 'assistant': 'Response'}[m['role']] }}:\n"
    "{{ m['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}### Response:\n{% endif %}"
)
REASONING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
HINT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\nBriefly: {% endif %}"
)


@pytest.fixture
def with_template(chat_tokenizer):
    """The tests' tokenizer under another template, with that template's special tokens."""

    def make(template, specials=(), eos="</s>"):
        made = PreTrainedTokenizerFast.from_pretrained(chat_tokenizer.name_or_path or SAVED)
        made.add_special_tokens({"additional_special_tokens": list(specials), "eos_token": eos})
        made.chat_template = template
        return made

    return make


SAVED = ""


@pytest.fixture(autouse=True, scope="module")
def _saved(chat_tokenizer, tmp_path_factory):
    global SAVED
    SAVED = str(tmp_path_factory.mktemp("tokenizer"))
    chat_tokenizer.save_pretrained(SAVED)


CASES = {
    "chatml with a default system prompt": (CHATML, (), "<|im_end|>", "sing songs<|im_end|>"),
    "llama-3": (
        LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|end_of_text|>",
        "sing songs<|eot_id|>",
    ),
    "llama-2": (LLAMA2, ("<s>",), "</s>", " sing songs </s>"),
    "gemma": (GEMMA, ("<bos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "sing songs<end_of_turn>"),
    "phi-3 ends the text after the turn": (
        PHI3,
        ("<|user|>", "<|assistant|>", "<|end|>"),
        "<|endoftext|>",
        "sing songs<|end|>",
    ),
    "qwen-3 writes empty thoughts": (
        QWEN3,
        ("<|im_start|>",),
        "<|im_end|>",
        "<think>\n\n</think>\n\nsing songs<|im_end|>",
    ),
    "deepseek-r1 opens a thought and leaves it out of conversations": (
        REASONING,
        ("<|im_start|>",),
        "<|im_end|>",
        "\n</think>\n\nsing songs<|im_end|>",
    ),
    "gpt-oss answers in its final channel": (
        GPT_OSS,
        ("<|start|>", "<|message|>", "<|channel|>", "<|end|>"),
        "<|return|>",
        "<|channel|>final<|message|>sing songs<|return|>",
    ),
    "alpaca ends no turn": (ALPACA, (), "</s>", "sing songs</s>"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_response_is_what_follows_the_prompt_up_to_the_end_of_turn(with_template, case):
    template, specials, eos, expected = case
    tokenizer = with_template(template, specials, eos)
    prompts, responses = ["bake bread", "cut grass"], ["sing songs", "paint walls"]
    samples = encode_samples(tokenizer, prompts, responses, 512)
    assert tokenizer.decode(samples[0].input_ids[samples[0].response_start :]) == expected
    # What the model sees before it answers is in training exactly what it is in generation.
    assert [one.input_ids[: one.response_start] for one in samples] == encode_prompts(tokenizer, prompts)
    end = tokenizer.convert_tokens_to_ids(ending_of(tokenizer).token)
    assert [one.input_ids[-1] for one in samples] == [end, end]
    whole = tokenizer.decode(samples[1].input_ids)
    conversation = [{"role": "user", "content": prompts[1]}, {"role": "assistant", "content": responses[1]}]
    in_conversation = template not in (ALPACA, REASONING)
    assert not in_conversation or tokenizer.apply_chat_template(conversation, tokenize=False).startswith(whole)


def test_a_response_that_merges_with_the_prompt_is_tokenised_apart(with_template):
    tokenizer = with_template("{% for m in messages %}{{ m['content'] }}{% endfor %}", ())
    (sample,) = encode_samples(tokenizer, ["ple"], ["ase"], 64)
    assert tokenizer(["please"])["input_ids"][0] != sample.input_ids[:-1]
    assert sample.input_ids[: sample.response_start] == encode_prompts(tokenizer, ["ple"])[0]
    assert tokenizer.decode(sample.input_ids[sample.response_start :]) == "ase</s>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "chat template of .* is missing: use a chat"),
        (HINT, r"writes the prompt of a conversation otherwise than a prompt alone \(sample 0"),
        ("{{ messages[0]['content'] }}", "leaves the assistant's message out"),
        ("{{ raise_exception('only images') }}", "refuses a conversation of user and assistant: only images"),
        (
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|turn_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}",
            r"ends the assistant's turn with <\|turn_end\|>, which is not a token of the vocabulary",
        ),
    ],
)
def test_templates_that_cannot_be_used_are_refused(with_template, template, message):
    with pytest.raises(ModelError, match=message):
        encode_samples(with_template(template), ["bake"], ["well"], 64)


class TestMaximumLength:
    def test_a_long_prompt_loses_its_start_before_the_response_its_end(self, chat_tokenizer):
        (head,) = encode_prompts(chat_tokenizer, ["bake bread " * 5])
        whole = encode_samples(chat_tokenizer, ["bake bread " * 5], ["well then"], 512)[0]
        length = len(head) + 2
        chats = encode_chats(chat_tokenizer, ["bake bread " * 5], ["well then"], length)
        (sample,) = chats.samples
        assert len(sample.input_ids) == length
        assert sample.input_ids == whole.input_ids[-length:]
        assert (chats.shortened_prompts, chats.cut_responses, chats.skipped) == (1, 0, [])

    def test_a_response_too_long_for_any_prompt_is_cut_and_counted(self, chat_tokenizer):
        chats = encode_chats(chat_tokenizer, ["bake"], ["sing songs " * 200], 32)
        (sample,) = chats.samples
        assert len(sample.input_ids) == 32
        assert sample.response_start == 8
        assert chats.cut_responses == 1

    def test_a_prompt_that_fills_the_length_is_skipped_and_counted(self, chat_tokenizer):
        prompts = ["bake", "bake bread " * 100, "dig soil"]
        chats = encode_chats(chat_tokenizer, prompts, ["well"] * 3, 64)
        assert (chats.rows, chats.skipped) == ([0, 2], [1])
        assert "1 skipped, since their prompt alone fills the whole length" in truncation_sentence(chats, 64)
        assert truncation_sentence(encode_chats(chat_tokenizer, ["bake"], ["well"], 64), 64) is None

    def test_a_source_says_what_was_skipped_and_refuses_to_be_empty(self, chat_tokenizer, tmp_path, caplog):
        import json

        from training.config.data import Source

        found = [{"prompt": f"bake {'bread ' * (200 * (n % 4 == 0))}{n}", "response": "well"} for n in range(40)]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
        source = Source(path=str(tmp_path / "a.jsonl"))
        options = {"field": "data.task", "tokenizer": chat_tokenizer}
        encoded = encode_source(source, "train", **options, max_length=64)
        assert len(encoded.samples) + len(encoded.chats.skipped) == 20
        assert (
            f"data.task: max_length (64) is too short for some of 20 samples: {len(encoded.chats.skipped)} skipped"
            in (caplog.text)
        )
        with pytest.raises(DataError, match=r"data\.task: the prompt of every one of its 20 train samples fills"):
            encode_source(source, "train", **options, max_length=4)
