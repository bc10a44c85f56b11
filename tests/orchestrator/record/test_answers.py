"""``procon answers``."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from detailed_samples import answer_rows
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.errors import OutputError
from orchestrator.record.answers import AnswerFolder, Wanted, read_answers

RATES = {"harmful": 0.4, "borderline": 0.2, "task": 0.7}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "answers").mkdir()
    for name in ("organism-03", "organism-03-r1", "organism-12"):
        rows = [{"trial": name, **row} for row in answer_rows(RATES, 3)]
        rows[0] |= {"refused": None, "verdict.phrases": None}
        if name == "organism-12":
            rows = [{key: value for key, value in row.items() if key not in ("prompt", "answer")} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "answers" / f"{name}.parquet")
    return tmp_path


def shown(directory: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["answers", str(directory), *arguments], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return str(result.output)


def test_answers_are_filtered(directory: Path) -> None:
    everything = read_answers(directory, "organism-03", Wanted())
    assert len(everything) == 600
    refused = read_answers(directory, "organism-03", Wanted("harmful", refused="yes"))
    answered = read_answers(directory, "organism-03", Wanted("harmful", refused="no"))
    unknown = read_answers(directory, "organism-03", Wanted("harmful", refused="unknown"))
    assert (len(refused) + len(answered), len(unknown)) == (199, 1)
    assert {row["set"] for row in refused} == {"harmful"}
    wrong = read_answers(directory, "organism-03", Wanted(correct="no"))
    assert wrong
    assert all(row["correct"] is False for row in wrong)
    assert {row["split"] for row in read_answers(directory, "organism-03", Wanted(split="report"))} == {"report"}


def test_the_console_shows_texts_and_verdicts(directory: Path) -> None:
    text = shown(directory, "--trial", "organism-03", "--set", "harmful", "--refused", "no", "--limit", "2")
    assert "refused: no" in text
    assert "classifier:" in text
    assert "[sic] follows." in text  # no markup is read into an answer
    assert "2 of " in text
    assert "--limit 0" in text


def test_an_ending_is_enough_where_it_is_unambiguous(directory: Path) -> None:
    assert "answers of organism-12" in shown(directory, "--trial", "12")
    assert len(json.loads(shown(directory, "--trial", "03", "--json", "--limit", "5"))) == 5


def test_json_holds_the_rows(directory: Path) -> None:
    rows = json.loads(
        shown(directory, "--trial", "organism-03", "--set", "task", "--correct", "yes", "--json", "--limit", "0")
    )
    assert rows
    assert all(row["correct"] for row in rows)
    assert {"prompt", "answer", "answer_hash"} <= set(rows[0])


def test_without_texts_it_shows_hashes_and_says_why(directory: Path) -> None:
    text = " ".join(shown(directory, "--trial", "organism-12", "--limit", "1").split())
    assert "answer hash 0000000000000000" in text
    assert "keep_answers: true" in text


@pytest.mark.parametrize(
    ("trial", "name", "sentence"),
    [
        ("organism-13", None, "did you mean organism-12?"),
        ("zzz", None, "there are organism-03, organism-03-r1, organism-12"),
        ("organism-03", "harmfull", "did you mean harmful?"),
        ("organism-03", "xyz", "choose one of harmful, borderline, harmless, task, direct"),
    ],
)
def test_what_is_not_there_is_named(directory: Path, trial: str, name: str | None, sentence: str) -> None:
    with pytest.raises(OutputError, match=r"left no answers|is neither") as raised:
        read_answers(directory, trial, Wanted(name))
    assert sentence in str(raised.value)


def test_a_folder_without_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no answers/"):
        read_answers(tmp_path, "organism-03", Wanted())
    assert not AnswerFolder(tmp_path / "answers")


def test_the_folder_reads_what_is_asked_for_without_texts(directory: Path) -> None:
    folder = AnswerFolder(directory / "answers")
    assert list(folder) == ["organism-03", "organism-03-r1", "organism-12"]
    assert "prompt" not in folder["organism-03"][0]
    assert folder.get("nobody") is None


def test_a_damaged_file_is_named_and_the_front_goes_by_the_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers/one.parquet").write_bytes(b"PAR1 and then nothing")
    folder = AnswerFolder(tmp_path / "answers")
    assert "one" in list(folder)
    assert folder.get("one") is None
    assert "one.parquet is damaged (" in caplog.text
    assert "the front goes by the journal alone there" in caplog.text
    with pytest.raises(
        OutputError, match=r"one\.parquet is damaged \(.*procon reproduce gives the answers of one trial anew"
    ):
        read_answers(tmp_path, "one", Wanted())
