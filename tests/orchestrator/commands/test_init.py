"""A preset as a file of one's own."""

from pathlib import Path

import pytest

from orchestrator.commands.init import copy_preset
from orchestrator.errors import OutputError
from sweeps.errors import SpecError
from sweeps.schema.load import load_spec
from sweeps.schema.spec_files import preset_file


def test_the_copy_is_the_preset_with_its_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = copy_preset("demo", None)
    assert file.absolute() == tmp_path / "demo.yaml"
    assert file.read_text() == preset_file("demo").read_text()
    assert load_spec(file).objectives == load_spec("demo").objectives


def test_no_file_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    with pytest.raises(OutputError, match="exists already: choose another file with --to"):
        copy_preset("demo", file)
    assert file.read_text() == "mine"
    with pytest.raises(OutputError, match="cannot be written"):
        copy_preset("demo", tmp_path / "absent" / "mine.yaml")
    with pytest.raises(SpecError, match="does not exist"):
        copy_preset("absent", tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()
