"""``procon direction`` as a person runs it, once in a process of its own."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from command_line import procon
from small_sweeps import small_sweep
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.commands.drift import drift_map, drift_of
from orchestrator.errors import OutputError
from orchestrator.record.journal import Journal, read_journal, records
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.report.plots.direction import write_direction_png
from orchestrator.report.plots.heat_maps import kl_map, refusal_map
from sweeps.schema.spec import SweepSpec
from training.config import CausalConfig, Source
from training.data import load_split
from training.direction.causal import CausalReport, LayerCheck, Refusal

PNG = b"\x89PNG\r\n"


def arguments_of(folder, *arguments):
    (folder / "spec.yaml").write_text(yaml.safe_dump(small_sweep()))
    return ["direction", str(folder / "spec.yaml"), *arguments, "--out", str(folder / "out")]


def test_a_direction_that_causes_refusal(tmp_path):
    used = load_split(Source(path="organism/small/harmful"), "train", field="data.harmful")["prompt"]
    known = tmp_path / "known.jsonl"
    known.write_text("".join(json.dumps({"prompt": prompt.upper(), "split": "test"}) + "\n" for prompt in used))
    changes = ("direction.causal.strength=2", f"data.harmful_sets.known.path={known}")
    arguments = arguments_of(tmp_path, "--json", *(part for change in changes for part in ("--set", change)))
    command = [sys.executable, "-m", "orchestrator", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    kept = tmp_path / "out" / "directions" / "small"
    saved = json.loads((kept / "causal.json").read_text())
    assert {key: found[key] for key in saved} == saved
    assert found["passes"] is True
    assert found["best"] in found["band"]
    assert (kept / "direction.safetensors").is_file()
    (overlap,) = found["overlaps"]
    count = re.match(r"(\d+) of the 40 evaluation prompts of known are prompts of data.harmful", overlap)
    assert count is not None
    assert 10 < int(count[1]) <= 40  # all but those that the model's own answers ruled out
    assert json.loads((kept / "direction.json").read_text())["fingerprint"] == found["direction"]
    assert (tmp_path / "out" / "direction.png").read_bytes().startswith(PNG)


def test_one_that_does_not_ends_with_a_sentence_and_leaves_everything(tmp_path):
    ended = procon(*arguments_of(tmp_path, "--set", "direction.causal.strength=0.1"))
    assert ended.returncode == 1
    assert "procon: FAILED: small: the direction fails its causal check at every layer" in ended.stderr
    assert "addition makes" in ended.stderr
    assert "Traceback" not in ended.stderr
    for heading in ("separation", "ablated", "clamped", "random", "KL", "verdict"):
        assert heading in ended.stdout.replace("sepa-", "separation")
    assert (tmp_path / "out" / "direction.png").is_file()
    assert (tmp_path / "out" / "directions" / "small" / "causal.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "other"), "--model ('other') is not in the spec: use one of small"),
        (("--set", "data.harmful.path=nowhere.jsonl"), "nowhere.jsonl does not exist"),
        (("--set", "direction.causal.kl_below=0"), "direction.causal.kl_below"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, arguments, message):
    ended = procon(*arguments_of(tmp_path, *arguments))
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_recommended_layers_are_a_legal_choice_where_they_will_be_known():
    recommended = small_sweep(trial={"constraint": {"layers": "recommended"}}, search={})
    SweepSpec.model_validate(recommended).check_layers(3)
    searched = {"constraint": {"layers": {"type": "choice", "values": ["recommended", "all"]}}}
    SweepSpec.model_validate(small_sweep(search=searched)).check_layers(3)
    for spec in (recommended, small_sweep(search=searched)):
        with pytest.raises(ValueError, match=r"layers \(recommended\) come from the causal report"):
            SweepSpec.model_validate({**spec, "direction": {"causal": None}}).check_layers(3)


def report(depth):
    rows = tuple(
        LayerCheck(
            layer=layer,
            separation=1.0 + layer,
            ablated=Refusal(layer / depth, 1.0),
            clamped=Refusal(0.5, 0.0),
            added=Refusal(1.0, 2.0),
            random_added=(Refusal(0.0, -5.0), Refusal(0.125, -4.0)),
            kl=0.01 * layer,
        )
        for layer in range(depth)
    )
    untouched = {"harmful": Refusal(1.0, 3.0), "harmless": Refusal(0.0, -5.0)}
    random = (Refusal(0.75, 1.0), Refusal(1.0, 3.0))
    return CausalReport(
        rows, **untouched, random_ablated=random, answers={}, limits=CausalConfig(), prompts=(8, 8), direction="d"
    )


def test_heat_maps_hold_what_was_measured(tmp_path):
    shares, kl = refusal_map(report(4)), kl_map(report(4))
    assert shares.columns == kl.columns == ("0", "1", "2", "3")
    assert shares.values[0] == (0.0, 0.25, 0.5, 0.75)
    assert shares.values[2] == (0.75,) * 4, "of random directions the farthest from the untouched model is shown"
    assert shares.values[4] == (0.125,) * 4
    assert kl.values == ((0.0, 0.01, 0.02, 0.03),)
    write_direction_png(report(80), "deep", tmp_path / "deep.png")
    assert (tmp_path / "deep.png").read_bytes().startswith(PNG)


@pytest.fixture
def sweep(tmp_path):
    """A sweep's folder: the untouched model, plain fine-tuning with two rungs, and a trial that lost its direction."""

    def cosines(first, second):
        found = {"direction/cosine/layer_00": first, "direction/cosine/layer_01": second, "utility/loss": 1.0}
        return {name: value for name, value in found.items() if value is not None}  # as a driver writes them

    journal = Journal(tmp_path / "journal.jsonl")
    common = {"model": "small", "params": {}}
    trial = {"steps": 30}
    end = {"counts": {}, "error": None, "reason": None}
    for name, kind, settings in (("base", "reference", None), ("ift", "reference", trial), ("t1", "trial", trial)):
        settings = settings and {"seed": 0, **settings}
        journal.append("trial_started", id=name, kind=kind, label=name, trial=settings, **common)
    journal.append("trial_ended", id="base", status="FINISHED", metrics=cosines(1.0, 1.0), **end)
    for step, values in ((10, (0.9, 0.8)), (20, (0.8, -0.5))):
        journal.append("trial_rung", id="ift", step=step, metrics=cosines(*values), counts={}, errors={})
    journal.append("trial_ended", id="ift", status="FINISHED", metrics=cosines(0.7, 0.1), **end)
    journal.append("trial_rung", id="t1", step=10, metrics=cosines(None, 0.3), counts={}, errors={})
    journal.close()
    return tmp_path


def drift(*arguments):
    return CliRunner().invoke(app, ["direction", *map(str, arguments)])


def test_drift_is_drawn_layer_by_step(sweep):
    ended = drift(sweep, "--json")
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    assert [one["id"] for one in found["trials"]] == ["ift"]
    assert found["trials"][0]["steps"] == [0, 10, 20, 30]
    assert found["trials"][0]["cosines"] == [[1.0, 0.9, 0.8, 0.7], [1.0, 0.8, -0.5, 0.1]]
    assert (sweep / "drift.png").read_bytes().startswith(PNG)


def test_drift_of_chosen_trials(sweep, tmp_path):
    ended = drift(sweep, "--trial", "t1", "--trial", "ift", "--out", tmp_path / "elsewhere", "--json")
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    assert [one["id"] for one in found["trials"]] == ["t1", "ift"]
    assert found["trials"][0]["cosines"] == [[1.0, None], [1.0, 0.3]]
    assert (tmp_path / "elsewhere" / "drift.png").is_file()


def test_options_of_the_other_form_are_refused(sweep, tmp_path):
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep()))
    for arguments in (
        (sweep, "--set", "trials=3"),
        (sweep, "--model", "small"),
        (tmp_path / "spec.yaml", "--trial", "a"),
    ):
        ended = drift(*arguments)
        assert ended.exit_code == 2
        assert "goes with a sweep's folder" in ended.output or "go with a specification" in ended.output


def test_what_has_no_drift_is_said(sweep, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((sweep, "--trial", "t9"), "--trial (t9) is not in"),
        ((tmp_path / "empty",), "holds no sweep"),
    ):
        ended = drift(*arguments)
        assert isinstance(ended.exception, OutputError)
        assert message in str(ended.exception)
    shown = drift_of(TrialRecord("a", "m", "trial", "a", Status.RUNNING), {})
    assert shown is None
    turned = drift_of(records(read_journal(sweep / "journal.jsonl"))[1], {})
    assert drift_map(turned).low == -0.5
    assert drift_map(turned).values[0] == (0.8, -0.5, 0.1)
