"""Models side by side: known shares, who leads, what is not comparable, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import procon
from detailed_samples import answer_rows, counts_of, detailed_sweep
from front_samples import ACCURACY, ASR, halves, record
from safetensors.numpy import save_file
from written_sweeps import demo_spec, write_sweep

from orchestrator.commands.compare import compare_sweeps
from orchestrator.errors import ComparisonError, OutputError
from orchestrator.record.trials import TrialRecord
from training.evaluation.scores import Scores


def references(base: tuple[float, float], ift: tuple[float, float], model: str = "organism") -> list[TrialRecord]:
    return [
        halves(f"{model}-{label}", rates, rates, kind="reference", label=label, model=model)
        for label, rates in (("base", base), ("ift", ift))
    ]


def measured(identity: str, asr: float, accuracy: float, luck: int, **changes: object) -> tuple[TrialRecord, list]:
    """A record whose rates are those of imagined answers."""
    rows = answer_rows({"harmful": asr, "borderline": 0.02, "task": accuracy}, luck)
    found = {split: counts_of(rows, split) for split in ("select", "report")}
    scores = {split: Scores({n: s / t for n, (s, t) in counts.items()}, counts) for split, counts in found.items()}
    blank = record(identity, **changes)  # type: ignore[arg-type]
    return replace(blank, report=scores["report"], select=scores["select"]), rows


def model_of(name: str, trials: dict[str, tuple[float, float]]) -> tuple[list[TrialRecord], dict[str, list]]:
    records, answers = [], {}
    for label, rates in {"base": (0.02, 0.1), "ift": (0.9, 0.85)}.items():
        one, answers[f"{name}-{label}"] = measured(
            f"{name}-{label}", *rates, 1, model=name, kind="reference", label=label
        )
        records.append(replace(one, params={}))
    for number, (trial, rates) in enumerate(trials.items()):
        one, answers[trial] = measured(trial, *rates, 10 + number, model=name)
        records.append(one)
    return records, answers


def test_shares_are_of_what_the_own_fine_tuning_lost_and_gained(tmp_path: Path) -> None:
    trials = [
        halves("a", (0.5, 0.8), (0.45, 0.75), params={}),
        halves("b", (0.1, 0.5), (0.1, 0.5), params={}),
        halves("c", (0.8, 0.9), (0.8, 0.9), params={}),
        halves("beaten", (0.6, 0.6), (0.0, 1.0), params={}),
    ]
    records = [*references((0.1, 0.1), (0.9, 0.9)), *trials]
    found = compare_sweeps([write_sweep(tmp_path / "one", demo_spec(), records)]).models[0]
    shares = {point.id: (point.safety.value, point.utility.value) for point in found.front}
    assert shares == pytest.approx(
        {"b": pytest.approx((1.0, 0.5)), "a": pytest.approx((0.5625, 0.8125)), "c": pytest.approx((0.125, 1.0))}
    )
    assert found.hypervolume is not None
    assert found.hypervolume.value == pytest.approx(0.125 * 1 + (0.5625 - 0.125) * 0.8125 + (1 - 0.5625) * 0.5)
    assert found.hypervolume.low < found.hypervolume.value < found.hypervolume.high
    assert found.lost is not None
    assert found.lost.value == pytest.approx(0.8)
    assert found.lost.low < 0.8 < found.lost.high
    assert found.knee == "a"
    assert [(at.level, at.id) for at in found.at] == [(0.5, "b"), (0.7, "a"), (0.8, "a"), (0.9, "c"), (1.0, "c")]
    assert (found.chosen, found.kept) == ("c", True)


def test_the_model_that_is_ahead_at_the_same_utility_leads_and_chance_does_not(tmp_path: Path) -> None:
    one, some = model_of("one", {"one-0": (0.2, 0.8), "one-1": (0.05, 0.4)})
    two, others = model_of("two", {"two-0": (0.6, 0.8), "two-1": (0.05, 0.4)})
    spec = demo_spec(["one", "two"])
    found = compare_sweeps([write_sweep(tmp_path / "both", spec, [*one, *two], some | others)])
    assert [model.name for model in found.models] == ["one", "two"]
    leads = {lead.level: lead for lead in found.leads}
    assert (leads[0.9].first, leads[0.9].sure) == ("one", True)
    assert leads[0.9].difference is not None
    assert 0.3 < leads[0.9].difference.value < 0.65
    alike, more = model_of("alike", {"alike-0": (0.2, 0.8), "alike-1": (0.05, 0.4)})
    same = compare_sweeps([write_sweep(tmp_path / "alike", demo_spec(["one", "alike"]), [*one, *alike], some | more)])
    assert not any(lead.sure for lead in same.leads)
    assert any("100 prompts, the same for all, paired" in sentence for sentence in found.basis)


def test_settings_are_compared_in_units_that_models_share(tmp_path: Path) -> None:
    folders = []
    for name, alpha, layer, separation in (
        ("small", 0.4, 1, [1.0, 5.0, 9.0]),
        ("large", 0.1, 3, [4.0, 4.0, 4.0, 20.0, 1.0]),
    ):
        spec = demo_spec([name])
        params = {"constraint.alpha": alpha, "constraint.layers": layer, "constraint.warmup_steps": 50}
        trial = spec.trial_config(params).model_dump(mode="json")
        one = halves(f"{name}-0", (0.2, 0.8), (0.2, 0.8), model=name, params=params, trial=trial)
        folder = write_sweep(tmp_path / name, spec, [*references((0.1, 0.1), (0.9, 0.9), name), one])
        (folder / "directions" / name).mkdir(parents=True)
        save_file({"separation": np.array(separation)}, folder / "directions" / name / "direction.safetensors")
        folders.append(folder)
    found = {row.setting: row for row in compare_sweeps(folders).settings}
    alpha = found["constraint.alpha (times the separation)"]
    assert alpha.common == (2.0, 2.0)
    assert found["constraint.warmup_steps (share of the training)"].chosen == {"small/small": 0.5, "large/large": 0.5}
    depth = found["constraint.layers.first (share of the depth)"]
    assert depth.fronts == {"small/small": (0.5, 0.5), "large/large": (0.75, 0.75)}
    assert depth.common is None


def test_a_model_that_lost_nothing_has_no_shares(tmp_path: Path) -> None:
    safe = [*references((0.1, 0.1), (0.12, 0.9)), halves("a", (0.1, 0.8), (0.1, 0.8))]
    found = compare_sweeps([write_sweep(tmp_path / "safe", demo_spec(), safe)]).models[0]
    assert found.hypervolume is None
    assert "lost no safety that could be told from chance" in (found.note or "")
    only = [references((0.1, 0.1), (0.9, 0.9))[0], halves("a", (0.1, 0.8), (0.1, 0.8))]
    unreferenced = compare_sweeps([write_sweep(tmp_path / "only", demo_spec(), only)]).models[0]
    assert "reference ift was not measured" in (unreferenced.note or "")


class TestWhatDiffers:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        records, answers = model_of("m", {"m-0": (0.2, 0.8)})
        return write_sweep(tmp_path / "first", demo_spec(["m"]), records, answers)

    def other(self, tmp_path: Path, *settings: str, rename: str = "", role: str = "", name: str = "second") -> Path:
        records, answers = model_of("m", {"m-0": (0.2, 0.8)})
        for rows in answers.values():
            for row in rows:
                if rename and row["set"] == role:
                    number = int(row["prompt_id"].rsplit("-", 1)[1])
                    row["prompt_id"] += rename if rename != "half" or number >= 120 else ""
        return write_sweep(tmp_path / name, demo_spec(["m"], *settings), records, answers)

    def test_other_objectives_are_refused(self, folder: Path, tmp_path: Path) -> None:
        loss = "objectives.1={metric: utility/loss, goal: minimize, worst: 3}"
        with pytest.raises(ComparisonError, match="no objective of utility in common"):
            compare_sweeps([folder, self.other(tmp_path, loss)])

    def test_other_judges_are_refused_or_the_one_in_common_decides(self, folder: Path, tmp_path: Path) -> None:
        phrases = '{type: phrases, extra: ["never"]}'
        with pytest.raises(ComparisonError, match="other judges"):
            compare_sweeps([folder, self.other(tmp_path, f"evaluation.judges=[{phrases}]")])
        found = compare_sweeps([folder, self.other(tmp_path, "evaluation.judges=[{type: phrases}]", name="third")])
        assert found.safety == "safety/judged/phrases"
        assert "attack success by the judge phrases alone" in found.basis[0]

    def test_other_prompts_are_refused_and_shared_ones_compared(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(ComparisonError, match=r"prompts behind .*attack_success_rate are not the same"):
            compare_sweeps([folder, self.other(tmp_path, rename="-new", role="harmful")])
        half = self.other(tmp_path, rename="half", role="harmful", name="half")
        found = compare_sweeps([folder, half])
        assert any("the 60 prompts that all answered (100 of first/m, 100 of half/m)" in one for one in found.basis)
        first, second = found.models
        values = [model.front[0].safety.value for model in (first, second)]
        assert values[0] == values[1], "the same answers to the same prompts"

    def test_another_task_is_said(self, folder: Path, tmp_path: Path) -> None:
        found = compare_sweeps([folder, self.other(tmp_path, rename="-new", role="task")])
        assert any("each share is of the gain on the model's own task" in sentence for sentence in found.basis)

    def test_other_lengths_of_answers_are_said(self, folder: Path, tmp_path: Path) -> None:
        found = compare_sweeps([folder, self.other(tmp_path, "evaluation.max_new_tokens=99")])
        assert "evaluation.max_new_tokens is not the same: 40 of first/m, 99 of second/m." in found.basis

    def test_one_folder_twice_is_refused(self, folder: Path) -> None:
        with pytest.raises(OutputError, match="named twice"):
            compare_sweeps([folder, folder])


@pytest.fixture(scope="module")
def two_sweeps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sweeps")
    made = []
    for place, name in enumerate(("a", "b")):
        records, answers = detailed_sweep(10, model=name, seed=place, replicated=1)
        made.append(write_sweep(folder / name, demo_spec([name]), records, answers))
    return made


@pytest.mark.parametrize("columns", ["60"])
def test_the_command_shows_models_leads_settings_and_choices(two_sweeps: list[Path], columns: str) -> None:
    said = procon("compare", *two_sweeps, COLUMNS=columns)
    assert said.returncode == 0, said.stderr
    for text in ("The models compared", "Share of lost safety regained", "Which settings carry over", "By the rule"):
        assert text in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= int(columns)
    found = json.loads(procon("compare", *two_sweeps, "--json").stdout)
    assert [model["model"] for model in found["models"]] in (["a", "b"], ["b", "a"])
    assert {found["safety"], found["utility"]} == {ASR, ACCURACY}


@pytest.mark.slow
def test_ten_sweeps_of_a_hundred_trials(tmp_path: Path) -> None:
    """They take ten seconds at most on a quiet machine; what is asserted is that all of them are there."""
    folders = []
    for place in range(10):
        records, answers = detailed_sweep(100, model=f"m{place}", seed=place, replicated=0)
        folders.append(write_sweep(tmp_path / f"s{place}", demo_spec([f"m{place}"]), records, answers))
    found = compare_sweeps(folders)
    assert len(found.models) == 10
    assert len(found.leads) > 45


@pytest.mark.slow
def test_what_is_kept_of_it(two_sweeps: list[Path], tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    said = procon("compare", *two_sweeps, "--out", tmp_path / "out", "--mlflow", MLFLOW_TRACKING_URI=uri)
    assert said.returncode == 0, said.stderr
    found = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    for model in found["models"]:
        assert f"--trial {model['chosen']} --to {model['chosen']}" in page
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("procon comparisons")
    (run,) = client.search_runs([experiment.experiment_id])
    for model in found["models"]:
        assert run.data.metrics[f"normalised/hypervolume/{model['name']}"] == model["hypervolume"]["value"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"comparison.html", "comparison.json"}
    assert "| model | hypervolume |" in run.data.tags["mlflow.note.content"]
    refused = procon("compare", *two_sweeps, "--mlflow")
    assert (refused.returncode, "--out DIR" in refused.stderr) == (2, True)
