"""Files that are whole or not there."""

import os
from pathlib import Path

import pytest

from orchestrator.record.atomic import write_text, write_with


def test_a_file_is_replaced_as_a_whole_and_others_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "front.json"
    file.write_text("old")
    before = os.umask(0o027)
    try:
        write_text(file, "new")
    finally:
        os.umask(before)
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    file = tmp_path / "front.json"
    file.write_text("old")

    def breaks(partial: Path) -> None:
        partial.write_text("half of the n")
        raise error

    with pytest.raises(error):
        write_with(file, breaks)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
