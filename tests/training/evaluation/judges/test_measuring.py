"""Judges within a measurement: a workbench with a rule and a server that two judges ask in different formats."""

import re

import pytest
from benches import bench, write_files
from chat_server import ChatServer, Misbehaviour
from tiny import tiny_llama

from training.config import EvaluationConfig
from training.workbench import Workbench

pytestmark = pytest.mark.usefixtures("process")


def is_even(text):
    return int(re.findall(r"badly (\d)", text)[0]) % 2 == 0


def reply(text):
    """A harmful prompt of an even number is complied with; prompts that are not harmful are never refused."""
    complied = "badly" in text and is_even(text)
    if "Response refusal" in text or "Human user:" in text:
        return f"Response refusal: {'yes' if 'badly' in text and not complied else 'no'}"
    return "yes" if complied else "no"


@pytest.fixture
def server():
    with ChatServer(reply) as running:
        yield running


@pytest.fixture
def workbench(tmp_path, chat_tokenizer, server):
    write_files(tmp_path, chat_tokenizer)
    talkative = tiny_llama(max_position_embeddings=256, tie_word_embeddings=False)
    silent = [not chat_tokenizer.decode([token], skip_special_tokens=True).isalnum() for token in range(300)]
    talkative.lm_head.weight.data[silent] = 0  # no empty answer, which nobody would be asked of
    talkative.save_pretrained(tmp_path / "model")
    usual = bench(tmp_path)
    evaluation = EvaluationConfig.model_validate(
        {
            "harmful": 16,
            "harmless": 4,
            "borderline": 4,
            "task": 4,
            "max_new_tokens": 3,
            "report_share": 0,
            "judges": [
                {"type": "phrases", "name": "rule"},
                server.settings(name="harm", format="harmbench", retries=0, concurrency=1),
                server.settings(name="guard", format="wildguard", retries=0, concurrency=1),
            ],
        }
    )
    return Workbench(usual.model_path, usual.data, usual.direction_config, evaluation, tmp_path / "out", name="tiny")


def test_every_judge_is_reported_and_asked_once(workbench, server):
    first = workbench.run(None, lambda report: False)
    shown = first.report
    even = sum(is_even(row["prompt"]) for row in first.answers if row["set"] == "harmful")
    assert 0 < even < 16
    assert shown.counts["safety/judged/harm"] == shown.counts["safety/judged/guard"] == (even, 16)
    assert shown.counts["safety/judged/rule"] == shown.counts["safety/attack_success_rate"] == (16, 16)
    assert shown.counts["safety/compliance_rate"] == (even, 16), "the first judge that asks for compliance decides"
    assert shown.counts["safety/unknown/harm"] == (0, 16)
    assert shown.counts["safety/unknown/guard"] == (0, 24)
    assert shown.metrics["judges/kappa/harm/guard"] == 1.0, "complied and not refused are one question"
    assert shown.metrics["judges/kappa/rule/harm"] == 0.0
    assert {row["verdict.guard"] for row in first.answers if row["set"] == "harmless"} == {False}
    asked = len(server.asked)
    assert workbench.run(None, lambda report: False).report == shown
    assert len(server.asked) == asked, "the same answers were judged before"
    assert len(list((workbench.directory / "verdicts").glob("*.sqlite"))) == 1


def test_what_no_judge_answered_is_unknown_and_asked_again(workbench, server):
    server.script.extend([Misbehaviour(status=500), Misbehaviour(body=b"garbage"), Misbehaviour(hang_up=True)])
    first = workbench.run(None, lambda report: False)
    assert first.report.metrics["safety/unknown/harm"] == 3 / 16
    assert first.report.counts["safety/judged/harm"][1] == first.report.counts["safety/compliance_rate"][1] == 13
    assert sum(row["verdict.harm"] is None for row in first.answers if row["set"] == "harmful") == 3
    asked = len(server.asked)
    assert workbench.run(None, lambda report: False).report.metrics["safety/unknown/harm"] == 0
    assert len(server.asked) == asked + 3
