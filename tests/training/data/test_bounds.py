"""What a small file becomes in memory is known before it is there, and a text that nobody means is refused."""

import json
import resource
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from training.config import Source
from training.data import bounds
from training.data.check import check_source
from training.data.sources import split_table
from training.data.tables import read_table
from training.errors import DataError


def repeated(file: Path, text: str, rows: int) -> Path:
    """A Parquet file in which one text stands once and is said to stand in every row."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    parquet.write_table(pa.table({"prompt": column, "response": column}), file, compression="zstd")
    return file


def test_a_small_file_that_becomes_a_large_table_is_refused_before_it_does(tmp_path: Path) -> None:
    file = repeated(tmp_path / "bomb.parquet", "x" * 2**20, 60_000)
    assert file.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"^data\.task: .*bomb\.parquet holds [\d.]+ GiB of text, and [\d.]+ GiB is"):
        read_table(str(file), {}, "data.task")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "KiB"


def test_a_text_of_ten_megabytes_is_refused_by_row(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "a " * 5_000_000, "response": "b"}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file in tmp_path.iterdir():
        with pytest.raises(
            DataError, match=r"column prompt of .* has a text of 10,000,000 bytes in row 1, and 4,194,304"
        ):
            read_table(str(file), {}, "data.task")


def test_a_file_beyond_memory_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 2000)
    words = " ".join(str(number) for number in range(1000))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": words}))
    (tmp_path / "rows.csv").write_text(f"prompt\n{words}\n")
    parquet.write_table(pa.table({"prompt": [words]}), tmp_path / "rows.parquet")
    for file in tmp_path.iterdir():
        with pytest.raises(DataError, match="is the most that is read on this machine: take a part of its rows"):
            read_table(str(file), {}, "data.task")


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    rows = [{"prompt": f"p {n % 7}", "response": None if n % 5 else "ä\n", "n": n, "more": [n]} for n in range(5000)]
    table = pa.Table.from_pylist(rows).cast(
        pa.schema(
            [
                ("prompt", pa.large_string()),
                ("response", pa.string()),
                ("n", pa.int64()),
                ("more", pa.list_(pa.int64())),
            ]
        )
    )
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=1000)
    found = read_table(str(tmp_path / "rows.parquet"), {"answer": "n"}, "data.task")
    assert found.column("prompt").to_pylist() == [row["prompt"] for row in rows]
    assert found.column("response").to_pylist() == [row["response"] for row in rows]
    assert found.column("answer").to_pylist() == [str(row["n"]) for row in rows]
    assert "more" not in found.column_names


ODD = {
    "items": ("rows.json", "[1, 2]", "item 0 of .* is not a JSON object"),
    "deep": ("rows.jsonl", "[" * 100_000, "line 1 of .* is not valid JSON"),
    "deep list": ("rows.json", "[" * 100_000, "is not valid JSON"),
    "digits": ("rows.jsonl", '{"prompt": ' + "9" * 5000 + "}", "is not valid JSON"),
    "large number": ("rows.jsonl", '{"prompt": ' + "9" * 400 + "}", "cannot be read as json"),
    "half a pair": ("rows.jsonl", '{"prompt": "\\ud800"}', "cannot be read as json"),
    "two kinds": ("rows.jsonl", '{"prompt": 1}\n{"prompt": "a"}', "cannot be read as json"),
    "two columns of a name": ("rows.csv", "prompt,prompt\na,b\n", "there are 2 columns prompt"),
    "no parquet": ("rows.parquet", "PAR1 or not", "cannot be read as parquet"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    file, text, words = ODD[name]
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=words):
        read_table(str(tmp_path / file), {}, "data.task")
    with pytest.raises(DataError):
        _checked_and_read(Source(path=str(tmp_path / file)))


def _checked_and_read(source: Source) -> None:
    check_source(source, field="data.task", need=("prompt",))
    split_table(source, "train", field="data.task")
