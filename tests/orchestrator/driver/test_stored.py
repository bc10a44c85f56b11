from pathlib import Path

import pytest

from orchestrator.driver.stored import reconciled


def lines(*names: str) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


@pytest.mark.parametrize(
    ("here", "there", "then"),
    [
        (None, lines("a"), lines("a")),
        (lines("a"), lines("a"), lines("a")),
        (lines("a"), lines("a", "b"), lines("a", "b")),
        (lines("a") + b"half", lines("a", "b"), lines("a", "b")),
    ],
)
def test_the_local_journal_is_brought_up_to_the_buckets(
    tmp_path: Path, here: bytes | None, there: bytes, then: bytes
) -> None:
    journal = tmp_path / "journal.jsonl"
    if here is not None:
        journal.write_bytes(here)
    assert reconciled(journal, there) == []
    assert journal.read_bytes() == then


def test_what_the_bucket_never_heard_is_kept_and_said(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(lines("a", "b", "c"))
    said = reconciled(journal, lines("a"))
    assert said == ["2 events of the last driver here had not reached the bucket; they do now"]
    assert journal.read_bytes() == lines("a", "b", "c")


def test_what_was_overtaken_elsewhere_is_put_aside(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(lines("a", "mine"))
    (sentence,) = reconciled(journal, lines("a", "theirs"))
    assert journal.read_bytes() == lines("a", "theirs")
    aside = Path(sentence.rpartition(" is in ")[2])
    assert aside.read_bytes() == lines("a", "mine")
    assert aside.name.startswith("."), "it is not carried into the bucket"
