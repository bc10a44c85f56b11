"""``procon inspect`` on the small embedded model."""

import io
import json

import pytest
from small_sweeps import small_sweep
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.commands.inspect_samples import Inspection, constrained_tokens, inspect
from orchestrator.commands.inspect_table import print_inspection
from orchestrator.terminal import Terminal
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig


def found(**trial) -> Inspection:
    spec = SweepSpec.model_validate(small_sweep(trial={"max_length": 96, **trial}, search={}))
    return inspect(spec, spec.models[0], samples=2, split="train")


@pytest.fixture(scope="module")
def plain() -> Inspection:
    return found()


def drawn(inspection: Inspection, **console) -> str:
    file = io.StringIO()
    print_inspection(inspection, Terminal(file=file, width=120, **console))
    return file.getvalue()


def test_spans_say_what_is_trained_on_and_constrained(plain):
    assert [one.source for one in plain.samples] == ["task", "task", "safety", "safety"]
    for sample in plain.samples:
        prompt, response = sample.spans
        assert (prompt.trained, prompt.constrained) == (False, False)
        assert (response.trained, response.constrained) == (True, True)
        assert prompt.text.endswith("<|im_start|>assistant\n")
        assert response.text.endswith("<|im_end|>")


@pytest.mark.parametrize(("tokens", "constrained"), [("last_prompt", ["\n"]), ("all", None)])
def test_constrained_tokens_follow_the_constraint(tokens, constrained):
    sample = found(constraint={"tokens": tokens}).samples[0]
    texts = [span.text for span in sample.spans if span.constrained]
    assert texts == (constrained or [span.text for span in sample.spans])


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ({"type": "kl_reference"}, "response"),
        ({"type": "anchor"}, None),
        ({"alpha": 0.0}, None),
        ({"tokens": "all"}, "all"),
    ],
)
def test_which_tokens_each_constraint_looks_at(constraint, expected):
    assert constrained_tokens(TrialConfig.model_validate({"constraint": constraint})) == expected


def test_shares_and_lengths_are_of_all_samples(plain):
    task, safety = plain.sources
    assert (task.source, safety.source) == ("task", "safety")
    assert 0.2 < task.trained_share == task.constrained_share < 0.8
    percentiles = list(task.length_percentiles.values())
    assert percentiles == sorted(percentiles)
    assert percentiles[-1] <= 96


def test_what_the_maximum_length_does_is_counted():
    short = found(max_length=26)
    task = short.sources[0]
    assert task.skipped > 0
    assert task.shortened_prompts > 0
    assert task.length_percentiles["p100"] == 26
    assert f"task: {task.skipped} samples skipped (their prompt alone fills the length)" in drawn(short)


def test_brackets_stand_for_colours_where_there_are_none(plain):
    without = drawn(plain)
    assert "\x1b[" not in without
    assert "Legend: prompt as it is, [trained on], {constrained}, [{both}]" in without
    assert f"[{{{plain.samples[0].spans[1].text}}}]" in without
    coloured = drawn(plain, force_terminal=True, color_system="standard")
    assert "\x1b[" in coloured
    assert f"{{{plain.samples[0].spans[1].text}}}" not in coloured


def test_the_command_prints_json(tmp_path):
    import yaml

    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep()))
    result = CliRunner().invoke(
        app, ["inspect", str(tmp_path / "spec.yaml"), "--json", "--samples", "1", "--split", "test"]
    )
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["split"] == "test"
    assert len(shown["samples"]) == 2
    assert shown["end_of_turn"] == "<|im_end|>"
