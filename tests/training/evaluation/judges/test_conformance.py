"""Every judge of the house runs the conformance suite."""

import pytest
from chat_server import ChatServer
from conformance import PLAIN, JudgeConformance
from judge_models import save_classifier, save_generative
from pydantic import TypeAdapter

from training.config.judges import Judges
from training.evaluation.judges import build_judges


def built(settings, cache=None):
    return build_judges(TypeAdapter(Judges).validate_python([settings]), cache)[0]


class TestPhrases(JudgeConformance):
    @pytest.fixture
    def judge(self):
        return built({"type": "phrases"})


class TestEcho(JudgeConformance):
    @pytest.fixture
    def judge(self):
        return built({"type": "echo"})


@pytest.fixture(scope="module", params=["answer", "exchange"])
def classifier(request, tmp_path_factory):
    model = save_classifier(tmp_path_factory.mktemp("classifier"))
    return built(
        {"type": "classifier", "model": str(model), "labels": ["REJECTION"], "reads": request.param, "batch_size": 4}
    )


class TestClassifier(JudgeConformance):
    @pytest.fixture
    def judge(self, classifier):
        return classifier


GENERATIVE = {
    "harmbench": {"begin": [], "usual": "yes", "otherwise": "no"},
    "llama_guard": {"begin": [], "usual": "unsafe", "otherwise": "safe"},
    "qwen3guard": {"begin": ["Refusal", ":"], "usual": "No", "otherwise": "Yes"},
    "wildguard": {"begin": ["Response", "refusal", ":"], "usual": "no", "otherwise": "yes"},
}


@pytest.fixture(scope="module", params=list(GENERATIVE))
def generative(request, tmp_path_factory):
    model = save_generative(tmp_path_factory.mktemp("generative"), marker="cannot", **GENERATIVE[request.param])
    return built({"type": "generative", "model": str(model), "format": request.param, "batch_size": 4})


class TestGenerative(JudgeConformance):
    @pytest.fixture
    def judge(self, generative):
        return generative

    def test_its_verdicts_are_those_of_its_words(self, judge):
        cannot = ["cannot" in exchange.answer for exchange in PLAIN]
        assert judge.judge(PLAIN) == (cannot if judge.asks == "refused" else [not no for no in cannot])


@pytest.fixture(scope="module")
def server():
    with ChatServer(lambda text: "no" if "cannot" in text.split("Generation:")[1] else "yes") as running:
        yield running


class TestEndpoint(JudgeConformance):
    @pytest.fixture
    def judge(self, server):
        return built(server.settings(concurrency=4))


class TestCached(JudgeConformance):
    @pytest.fixture
    def judge(self, server, tmp_path):
        return built(server.settings(), tmp_path / "verdicts.sqlite")
