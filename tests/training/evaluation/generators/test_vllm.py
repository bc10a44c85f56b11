import copy
import math
import time
from collections import Counter

import pytest
import torch
from vllm_like import VllmLike, fault

from training.config import VllmGenerator
from training.data.chat import encode_prompts
from training.errors import GeneratorError
from training.evaluation.generators import build_generator
from training.evaluation.generators.probe import distance, forced
from training.models.generation import generate_replies, generate_tokens
from training.models.loading import base_model

LONGEST = 6


@pytest.fixture
def base(adapted_model):
    """What the adapters are on, without them."""
    return _without_adapters(adapted_model)


def _without_adapters(adapted):
    return copy.deepcopy(adapted).unload()


@pytest.fixture
def asked(tokenizer, prompts):
    return encode_prompts(tokenizer, prompts[::2])


@pytest.fixture
def few(asked):
    return asked[:4]


def served(server, tmp_path, **changes):
    config = VllmGenerator.model_validate(server.settings(**changes))
    return build_generator(config, tmp_path / "served", lambda model, folder: model.save_pretrained(folder))


def check(generator, model, tokenizer, asked, identity="one"):
    generator.check(model, tokenizer, asked, LONGEST, identity)


def replies(generator, model, tokenizer, asked, prefills=None):
    return generator.replies(model, tokenizer, asked, prefills or [[] for _ in asked], LONGEST)


def our_replies(model, tokenizer, asked, prefills=None):
    return generate_replies(model, tokenizer, asked, max_new_tokens=LONGEST, batch_size=16, prefills=prefills)


def test_answers_are_those_of_our_own_generator(adapted_model, base, tokenizer, asked, tmp_path):
    asked = [*asked, asked[0]]
    common = Counter(
        token
        for ids in generate_tokens(adapted_model, asked, end_ids=frozenset(), max_new_tokens=6, batch_size=9)
        for token in ids
    )
    for model in (adapted_model, base):
        base_model(model).generation_config.eos_token_id = common.most_common(1)[0][0]
    prefills = [tokenizer.encode("Sure") if index % 3 == 0 else [] for index in range(len(asked))]
    with VllmLike(base) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, asked)
        check(generator, base, tokenizer, asked)  # nothing new to compare
        assert server.paths().count("completions") == 2 * 20
        plain = replies(generator, base, tokenizer, asked)
        assert "load_lora_adapter" not in server.paths()
        adapted = replies(generator, adapted_model, tokenizer, asked, prefills)
        assert not server.adapters
    assert plain == our_replies(base, tokenizer, asked)
    assert adapted == our_replies(adapted_model, tokenizer, asked, prefills)
    assert {reply.truncated for reply in adapted} == {True, False}
    assert len({reply.answer for reply in plain} & {reply.answer for reply in adapted}) < 5
    assert not list((tmp_path / "served").iterdir())
    loads = [body for path, body in server.asked if path.endswith("/load_lora_adapter")]
    assert [body["lora_path"] for body in loads] == [str(tmp_path / "served" / loads[0]["lora_name"])]
    written = [body for _, body in server.asked if "return_token_ids" in body and body["model"] != "base"]
    assert len(written) == len({tuple(body["prompt"]) for body in written})  # the prompt that comes twice is asked once


def test_what_bf16_rounds_is_within_the_bound(adapted_model, base, tokenizer, asked, tmp_path):
    with VllmLike(base, torch.bfloat16) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, asked[:10])
        replies(generator, adapted_model, tokenizer, asked[:2])
    probe = generator._probe
    share = distance(probe.ours.log_probabilities, probe.theirs) / probe.ours.bound
    assert 0.02 < share < 0.7, (share, probe.ours.bound)


def test_our_own_log_probabilities_are_the_models(base, asked):
    starts = [len(ids) - 3 for ids in asked[:5]]
    found = forced(base, asked[:5], starts)
    expected = []
    for ids, start in zip(asked[:5], starts, strict=True):
        with torch.no_grad():
            logs = base(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        expected += [float(logs[place - 1, ids[place]]) for place in range(start, len(ids))]
    assert found.log_probabilities == pytest.approx(expected, abs=1e-5)


def test_another_base_model_is_refused(adapted_model, base, tokenizer, few, tmp_path):
    other = _without_adapters(adapted_model)
    with torch.no_grad():
        other.model.layers[1].mlp.down_proj.weight.zero_()
    with VllmLike(other) as server:
        said = rf"endpoint \({server.url}\) serves another model than the one in training: .* 4 of its .* differ by"
        with pytest.raises(GeneratorError, match=said):
            check(served(server, tmp_path), base, tokenizer, few)


def _scale(adapted, factor):
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.mul_(factor)


@pytest.mark.parametrize("strength", [1.0, 0.01], ids=["strong", "below rounding"])
def test_an_adapter_that_is_left_out_or_another_is_refused(adapted_model, base, tokenizer, few, tmp_path, strength):
    _scale(adapted_model, -strength)
    adapted_model.save_pretrained(tmp_path / "another")
    _scale(adapted_model, -1)
    ours = our_replies(adapted_model, tokenizer, few[:2])
    with VllmLike(base) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, few)
        assert replies(generator, adapted_model, tokenizer, few[:2]) == ours
        server.ignores_adapters = True
        for _ in range(2):
            with pytest.raises(GeneratorError, match=r"otherwise than the trained model as procon-.* 4 answers"):
                replies(generator, adapted_model, tokenizer, few[:2])
            assert not server.adapters
            server.ignores_adapters, server.instead = False, tmp_path / "another"


def test_adapters_that_change_nothing_pass(adapted_model, base, tokenizer, few, tmp_path):
    _scale(adapted_model, 0)
    with VllmLike(base, torch.bfloat16) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, few)
        assert len(replies(generator, adapted_model, tokenizer, few[:2])) == 2


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        ({"runtime_loading": False}, "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve .* --enable-lora"),
        ({"enable_lora": False}, "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve .* --enable-lora"),
        ({"max_lora_rank": 2}, r"trial\.tuning\.rank 4 .* start the server with --max-lora-rank 4"),
        ({"max_adapters": 0}, "No free lora slots.*: raise --max-loras and --max-cpu-loras"),
    ],
)
def test_what_a_server_cannot_load(adapted_model, base, tokenizer, few, tmp_path, switches, said):
    with VllmLike(base) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, few)
        vars(server).update(switches)
        with pytest.raises(GeneratorError, match=said):
            replies(generator, adapted_model, tokenizer, few[:2])
        assert server.paths().count("load_lora_adapter") == 1  # asking again would change nothing
    assert not list((tmp_path / "served").iterdir())


def test_a_folder_that_the_server_does_not_see(adapted_model, base, tokenizer, few, tmp_path):
    with VllmLike(base) as server:
        config = VllmGenerator.model_validate(server.settings())
        generator = build_generator(config, tmp_path / "served", lambda _model, _folder: None)
        check(generator, base, tokenizer, few)
        with pytest.raises(GeneratorError, match=r"does not see the adapter at .* evaluation\.generator\.adapter"):
            replies(generator, adapted_model, tokenizer, few[:2])


def test_what_passes_is_tried_again(adapted_model, base, tokenizer, few, tmp_path):
    ours = our_replies(adapted_model, tokenizer, few[:2])
    with VllmLike(base) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, few)
        server.script.extend([fault(503, "starting"), None])
        assert replies(generator, adapted_model, tokenizer, few[:2]) == ours
        assert server.paths().count("load_lora_adapter") == 3
        server.script.extend([(0, {}), *[fault(503, "busy")] * 2])
        assert len(replies(generator, base, tokenizer, few[:2])) == 2


def test_an_adapter_whose_answer_was_lost_is_loaded(adapted_model, base, tokenizer, few, tmp_path):
    with VllmLike(base) as server:
        generator = served(server, tmp_path, timeout=1.0)
        check(generator, base, tokenizer, few)
        server.delay = 1.3
        posted = []

        def slow_once(path, body, answer=server.answer):
            posted.append(path)
            if len(posted) == 1:
                server.delay = 0.0
            return answer(path, body)

        server.answer = slow_once
        assert len(replies(generator, adapted_model, tokenizer, few[:2])) == 2
        assert posted[:2] == ["/v1/load_lora_adapter"] * 2
        assert not server.adapters


def test_a_server_that_goes_down_is_named_after_its_last_attempt(adapted_model, base, tokenizer, few, tmp_path):
    with VllmLike(base) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, few)
        server.script.extend([(0, {})] * 6 + [None] * 100)  # while it answers, with the adapter loaded
        with pytest.raises(GeneratorError, match=rf"endpoint \({server.url}\) does not answer .*: start the server"):
            replies(generator, adapted_model, tokenizer, few)
        assert len(server.asked) - 8 - 6 <= 4 * 3 + 2  # neither prompts that had not begun, nor long farewells
    begin = time.monotonic()
    with pytest.raises(GeneratorError, match="does not answer"):
        replies(generator, adapted_model, tokenizer, few)
    assert time.monotonic() - begin < 5


def test_a_server_that_was_started_anew(adapted_model, base, tokenizer, few, tmp_path):
    with VllmLike(base) as server:
        generator = served(server, tmp_path)
        check(generator, base, tokenizer, few)
        complete = server._complete

        def forgets(body):
            if body.get("return_token_ids"):
                server.adapters.clear()
            return complete(body)

        server._complete = forgets
        with pytest.raises(GeneratorError, match=r"status 404: The model .* does not exist\.\): it was started anew"):
            replies(generator, adapted_model, tokenizer, few)


def test_a_server_that_is_slow(base, tokenizer, few, tmp_path):
    with VllmLike(base) as server:
        server.delay = 0.4
        with pytest.raises(GeneratorError, match=r"ReadTimeoutError.*raise evaluation\.generator\.timeout \(0\.1 s\)"):
            check(served(server, tmp_path, timeout=0.1, retries=1), base, tokenizer, few[:2])


def test_a_server_without_token_ids(base, tokenizer, few, tmp_path):
    with VllmLike(base) as server:
        server.token_ids = False
        with pytest.raises(GeneratorError, match=r"return_token_ids.*: use vLLM 0\.10\.2 or later"):
            check(served(server, tmp_path), base, tokenizer, few)


def test_a_prompt_that_is_too_long(base, tokenizer, few, tmp_path):
    with VllmLike(base) as server:
        server.max_model_len = 20
        with pytest.raises(GeneratorError, match=r"answer as base \(status 400: .*maximum context length is 20"):
            check(served(server, tmp_path), base, tokenizer, few)


def test_log_probabilities_that_are_no_numbers_are_refused(base, tokenizer, few, tmp_path):
    with VllmLike(base) as server, torch.no_grad():
        server.base.lm_head.weight[7] = math.nan
        with pytest.raises(GeneratorError, match="differ by nan nats"):
            check(served(server, tmp_path), base, tokenizer, few)
