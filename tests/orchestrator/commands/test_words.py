"""What a person is told: advice that can be followed, and words that are true where they stand."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from front_samples import OBJECTIVES, RULES, record, sweep, with_scores
from small_sweeps import small_sweep

from orchestrator.commands.answers_table import print_answers
from orchestrator.commands.status import SweepStatus
from orchestrator.commands.status_table import print_status
from orchestrator.commands.summary import print_outcome
from orchestrator.driver.progress import Progress
from orchestrator.driver.remarks import remarks
from orchestrator.driver.sweep import Outcome
from orchestrator.errors import OutputError
from orchestrator.front.document import build_front
from orchestrator.front.notes import notes
from orchestrator.record.folder import INTERRUPTED, check_output, create_output
from orchestrator.record.sweep_state import SweepState
from orchestrator.report.console import judges_table
from orchestrator.report.files import ReportFiles
from orchestrator.terminal import Terminal
from sweeps.schema.spec import SweepSpec

OWN = [{"name": "llama", "path": "/models/llama"}]
KAPPA = "judges/kappa/phrases/echo"


def spec(**changes: Any) -> SweepSpec:
    return SweepSpec.model_validate(small_sweep(**changes))


def printed(draw: Any, *things: Any) -> str:
    file = io.StringIO()
    draw(*things, Terminal(file=file, width=300, color_system=None))
    return file.getvalue()


def outcome(folder: Path, **changes: Any) -> Outcome:
    files = ReportFiles(*(folder / name for name in ("front.json", "trials.parquet", "front.html", "front.png")))
    front = build_front(OBJECTIVES, RULES, sweep(4))
    made = Outcome(folder, front, [], files, "sqlite:///x.db", None, {}, 0, None, 12.0)
    return dataclasses.replace(made, **changes)


def test_after_ctrl_c_the_whole_command_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my runs" / "first"
    stopped = printed(print_outcome, outcome(folder, stopped=INTERRUPTED))
    assert "Go on with: procon resume 'my runs/first'\n" in stopped
    joined = printed(print_outcome, outcome(folder, stopped=INTERRUPTED, address="10.0.0.1:6379"))
    assert "procon resume 'my runs/first' --address 10.0.0.1:6379\n" in joined
    assert "resume" not in printed(print_outcome, outcome(folder))


def test_a_resumed_sweep_took_what_all_its_drivers_took(tmp_path: Path) -> None:
    assert "The sweep took 0:12. It left" in printed(print_outcome, outcome(tmp_path))
    text = printed(print_outcome, outcome(tmp_path, seconds_before=60.0))
    assert "The sweep took 1:12 in all, 0:12 of it now. It left" in text
    assert "took 1:00. It" in printed(print_outcome, outcome(tmp_path, seconds_before=60.0, seconds=0.0))


def test_a_spent_budget_has_to_be_raised_to_go_on(tmp_path: Path) -> None:
    text = printed(print_outcome, outcome(tmp_path, stopped="budget.hours (1) is spent"))
    assert f"procon resume {tmp_path} --set budget.hours=MORE --accept" in text


def test_what_mlflow_missed_is_delivered_by_a_resume(tmp_path: Path) -> None:
    text = printed(print_outcome, outcome(tmp_path, undelivered=3))
    assert "3 MLflow events could not be delivered" in text
    assert f"this delivers them once MLflow answers: procon resume {tmp_path}" in text


def test_a_folder_in_use_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").touch()
    for refuse in (check_output, lambda folder: create_output(folder, "x")):
        with pytest.raises(OutputError) as refusal:
            refuse(tmp_path)
        assert "name a folder that is new or empty, or drop --out" in str(refusal.value)
        assert "procon resume goes on" in str(refusal.value)


@pytest.mark.parametrize(
    ("state", "words"), [("running", ("so far", "0:12 so far")), ("ended", ("1 trial\n", "in all"))]
)
def test_what_has_ended_is_not_so_far(state: Any, words: tuple[str, ...]) -> None:
    none: dict[str, float | None] = {"hours": None, "gpu_hours": None, "money": None}
    counts, best = {"planned": 1, "finished": 1}, {"small": {"small-0": {"utility/accuracy": 0.5}}}
    front = {"small": ["small-0"]}
    status = SweepStatus("d", "n", state, None, counts, [], front, best, 12.0, None, 1, 0, none, none, None, {}, [])
    text = printed(print_status, status)
    assert all(word in text for word in words), text
    assert ("so far" in text) == (state == "running")
    assert "worked" not in text


def test_no_agreement_is_not_minus_nothing() -> None:
    records = [with_scores(one, {KAPPA: -1e-9}) for one in sweep(6) if one.report.metrics]
    front = build_front(OBJECTIVES, RULES, records)
    (note,) = [one.sentence for one in notes(front, {"organism": records}, None) if one.check == "judges"]
    assert "mean kappa 0.00" in note
    table = judges_table(front, "organism")
    assert table is not None
    assert "-0.00" not in printed(lambda shown, terminal: terminal.print(shown), table)


def test_models_stand_in_the_order_of_the_specification() -> None:
    models = [{"name": name, "path": "organism/small", "seed": seed} for seed, name in enumerate(("b", "a", "c"))]
    records = [record(f"{name}-0", 0.3, 0.5, model=name) for name in ("c", "a", "b")]
    front = build_front(OBJECTIVES, [], records, spec=spec(models=models, feasible=[]))
    assert list(front.models) == ["b", "a", "c"]
    assert list(front.comparison.models) == ["b", "a", "c"]


class TestAnswers:
    def test_what_is_kept_is_said_beforehand(self) -> None:
        assert remarks(spec()) == ["answers: the texts of small are kept in answers/ and read with procon answers"]
        (said,) = remarks(spec(models=OWN))
        assert "of llama verdicts and hashes are kept, not the texts" in said
        assert "--set evaluation.keep_answers=true keeps them" in said
        kept = spec(models=OWN, evaluation={"keep_answers": True})
        assert remarks(kept) == ["answers: the texts of llama are kept in answers/ and read with procon answers"]

    def test_a_look_at_answers_without_texts_says_how_to_get_them(self, tmp_path: Path) -> None:
        row = {"set": "harmful", "attack": None, "family": None, "prompt_id": "1", "split": "report", "refused": True}
        row |= {"complied": False, "correct": None, "trial": "llama-3", "answer_hash": "ab"}
        text = printed(lambda *things: print_answers(*things, 0), [row], tmp_path, "3")
        assert f"procon reproduce {tmp_path} --trial llama-3 --answers" in text
        assert f"procon resume {tmp_path} --set evaluation.keep_answers=true --accept" in text

    def test_the_note_on_judges_does_not_send_anybody_to_texts_that_were_not_kept(self) -> None:
        records = [
            with_scores(dataclasses.replace(one, model="llama"), {KAPPA: 0.1}) for one in sweep(6) if one.report.metrics
        ]
        own = spec(models=OWN)
        front = build_front(OBJECTIVES, RULES, records, spec=own)
        (note,) = [one.sentence for one in front.notes if one.check == "judges"]
        assert "were not kept (evaluation.keep_answers: true keeps them" in note


class TestEcho:
    def test_models_of_ones_own_are_not_judged_by_echoes(self) -> None:
        assert [judge.type for judge in spec(models=OWN).evaluation.judges] == ["phrases"]
        assert [judge.type for judge in spec().evaluation.judges] == ["phrases", "echo"]
        both = spec(models=[*OWN, *small_sweep()["models"]])
        assert [judge.type for judge in both.evaluation.judges] == ["phrases"]

    def test_an_echo_judge_that_was_asked_for_stays_and_is_warned_of(self) -> None:
        chosen = spec(models=OWN, evaluation={"judges": [{"type": "phrases"}, {"type": "echo"}]})
        assert [judge.type for judge in chosen.evaluation.judges] == ["phrases", "echo"]
        (_, warned) = remarks(chosen)
        assert "echo takes an answer for compliance only where it repeats the request" in warned
        again = SweepSpec.model_validate(chosen.model_dump(mode="json"))  # as a recorded sweep is read
        assert again == chosen

    def test_a_recorded_sweep_reads_as_it_was(self) -> None:
        own = spec(models=OWN)
        assert SweepSpec.model_validate(own.model_dump(mode="json")) == own


def test_the_first_minutes_say_what_they_do() -> None:
    file = io.StringIO()
    with Progress(Terminal(file=file), spec(), SweepState()) as progress:
        progress.phase("building small: pretraining", 0.0)
        progress._phase_since -= 30
        progress._said -= 60
        progress.phase("building small: pretraining", 0.25)
        progress.doing({"small-base": "loading small"})
        progress.doing({"small-base": "loading small"})
        progress.doing({"small-base": "extracting the refusal direction of small"})
    text = file.getvalue()
    assert "pretraining 25%, about 1:30 left" in text
    assert text.count("small-base: loading small") == 1
    assert "0:00  small-base: extracting the refusal direction of small" in text
