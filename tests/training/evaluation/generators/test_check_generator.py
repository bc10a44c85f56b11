import socket

import pytest
from tiny import tiny_llama
from vllm_like import VllmLike

from training.config import EvaluationConfig, ModelConfig, TrialConfig
from training.errors import GeneratorError
from training.evaluation.generators import check_generator

MODEL = ModelConfig(name="own", path="some/model")


@pytest.fixture
def server():
    with VllmLike(tiny_llama()) as running:
        yield running


def check(generator, models=(MODEL,), tuning="lora", adapters=None, **evaluation):
    sizes = {"max_length": 100, "max_new_tokens": 20, **evaluation}
    config = EvaluationConfig.model_validate({"generator": generator, **sizes})
    check_generator(config, models, [TrialConfig.model_validate({"tuning": {"type": tuning, **(adapters or {})}})])


def test_a_server_that_can_be_asked(server, tmp_path, monkeypatch):
    server.key = "secret"
    monkeypatch.setenv("VLLM_KEY", "secret")
    check(server.settings(api_key_env="VLLM_KEY", adapter_dir=str(tmp_path)))
    check(server.settings(api_key_env="VLLM_KEY", model="base"))
    assert not server.adapters
    check({"type": "transformers"}, tuning="full")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "missing"}, r"evaluation\.generator\.model \(missing\) is not served at .*, which has base: "),
        (
            {"api_key_env": "NO_SUCH_KEY"},
            r"generator\.api_key_env \(NO_SUCH_KEY\) is not set .*: export it",
        ),
        (
            {"adapter_dir": "/no/such/folder"},
            r"generator\.adapter_dir \(/no/such/folder\) is not there: make",
        ),
    ],
)
def test_settings_that_cannot_work(server, settings, said):
    with pytest.raises(GeneratorError, match=said):
        check(server.settings(**settings))


def test_trials_and_models_that_cannot_be_served(server):
    with pytest.raises(GeneratorError, match=r"trial\.tuning\.type \(full\) trains none: write transformers, or tune"):
        check(server.settings(), tuning="full")
    with pytest.raises(GeneratorError, match=r"does not serve DoRA, and trial\.tuning\.use_dora is true: write trans"):
        check(server.settings(), adapters={"use_dora": True})
    with pytest.raises(GeneratorError, match=r"cannot serve the embedded model organism/small"):
        check(server.settings(), models=[ModelConfig(name="small", path="organism/small")])
    with pytest.raises(GeneratorError, match=r"a server of one base model, and models has own, second: make a sweep"):
        check(server.settings(), models=[MODEL, ModelConfig(name="second", path="other/model")])
    assert not server.asked


def test_a_server_that_does_not_load_adapters(server):
    server.runtime_loading = False
    with pytest.raises(GeneratorError, match=r"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora"):
        check(server.settings())


def test_a_server_of_too_short_texts(server):
    server.max_model_len = 120
    with pytest.raises(GeneratorError, match=r"takes 120 tokens at most, .* need 121: start .* --max-model-len 121"):
        check(server.settings())


def test_a_server_that_refuses_access(server):
    server.key = "secret"
    with pytest.raises(GeneratorError, match=r"status 401: Unauthorized\): name the key in evaluation\.generator\.api"):
        check(server.settings())


def test_nobody_answers():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(GeneratorError, match=rf"evaluation\.generator\.endpoint \({url}\) does not answer .*: start"):
        check({"type": "vllm", "endpoint": url})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"endpoint": "localhost:8000"}, "endpoint"),
        ({"endpoint": "http://user:word@host/v1"}, "holds a user name or password"),
        ({"endpoint": "http://host/v1", "api_key_env": "sk-123 4"}, "is not the name of an environment variable"),
        ({"endpoint": "http://host/v1", "retries": -1}, "retries"),
        ({}, "endpoint"),
    ],
)
def test_configurations_that_are_none(settings, said):
    with pytest.raises(ValueError, match=said) as caught:
        EvaluationConfig.model_validate({"generator": {"type": "vllm", **settings}})
    assert "word" not in str(caught.value).split("input_value")[0].replace("password", "")
