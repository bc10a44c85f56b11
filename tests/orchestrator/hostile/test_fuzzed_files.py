"""Any file of rows or of answers is read or refused in a sentence."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cases import TEXTS, VALUES, counts, damaged, holds, result
from hypothesis import strategies as st
from pyarrow import csv, parquet

from orchestrator.commands.answers_table import print_answers
from orchestrator.errors import OrchestratorError
from orchestrator.record.answers import AnswerFolder, Wanted, read_answers
from orchestrator.terminal import Terminal
from training.config import Source
from training.data.check import check_source
from training.data.sources import split_table
from training.errors import TrainingError

ROWS = [{"prompt": f"p {n}", "response": f"r {n}", "split": ("train", "test")[n % 2]} for n in range(12)]


def content_of(suffix: str) -> bytes:
    """A sound file of ``ROWS``."""
    sink = io.BytesIO()
    if suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), sink)
    elif suffix == ".csv":
        csv.write_csv(pa.Table.from_pylist(ROWS), sink)
    else:
        sink.write("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    return sink.getvalue()


def read_or_refused(suffix: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"rows{suffix}"
        file.write_bytes(content)
        for source in (
            Source(path=str(file)),
            Source.model_validate({"train": {"path": str(file), "split": "train"}, "test": {"path": str(file)}}),
        ):
            result(lambda source=source: check_source(source, field="data.task", need=("prompt",)), TrainingError)
            table = result(lambda source=source: split_table(source, "train", field="data.task"), TrainingError)
            assert table is None or all(isinstance(text, str) for text in table.column("prompt").to_pylist())


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@counts(10, 500)
def test_damaged_files_of_rows(suffix: str, count: int) -> None:
    holds(count, lambda content: read_or_refused(suffix, content), content=damaged(content_of(suffix)))


@counts(20, 500)
def test_rows_of_any_value(count: int) -> None:
    row = st.dictionaries(st.one_of(st.sampled_from(["prompt", "response", "split", "answer"]), TEXTS), VALUES)
    lines = st.lists(st.one_of(row, VALUES), max_size=4)

    def check(rows: list[Any], listed: bool) -> None:
        text = json.dumps(rows) if listed else "".join(json.dumps(row) + "\n" for row in rows)
        read_or_refused(".json" if listed else ".jsonl", text.encode())

    holds(count, check, rows=lines, listed=st.booleans())


def answers(text: str, value: Any) -> dict[str, Any]:
    row = {"set": text, "attack": "direct", "role": "harmful", "split": "report", "family": text, "prompt_id": text}
    return {**row, "prompt": text, "answer": text, "refused": value, "complied": None, "correct": None, text: value}


def shown_or_refused(folder: Path) -> None:
    rows = result(lambda: read_answers(folder, "one", Wanted()), OrchestratorError)
    if rows is not None:
        print_answers(rows, folder, "one", Terminal(file=(shown := io.StringIO())), 0)
        assert "\x1b" not in shown.getvalue()
    AnswerFolder(folder / "answers").get("one")


@counts(15, 500)
def test_damaged_answers(count: int) -> None:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([answers("a\x1b[2J", True)] * 5), sink)

    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "answers").mkdir()
            (Path(folder) / "answers/one.parquet").write_bytes(content)
            shown_or_refused(Path(folder))

    holds(count, check, content=damaged(sink.getvalue()))


@counts(10, 500)
def test_answers_of_any_text(count: int) -> None:
    def check(texts: list[str], value: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "answers").mkdir()
            table = pa.Table.from_pylist([answers(text, value) for text in texts])
            parquet.write_table(table, Path(folder) / "answers/one.parquet")
            shown_or_refused(Path(folder))

    kept = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)  # Arrow holds UTF-8
    values = st.one_of(st.booleans(), st.none(), st.text(max_size=3), st.integers(-5, 5))
    holds(count, check, texts=st.lists(kept, min_size=1, max_size=3, unique=True), value=values)
