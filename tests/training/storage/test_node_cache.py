import os
from pathlib import Path

import pytest

from training.storage.cache import DEFAULT_GB, in_use, limit_bytes, trim


def trial(folder: Path, name: str, size: int, age: int) -> Path:
    (folder / name / "step-1").mkdir(parents=True)
    (folder / name / "step-1/x").write_bytes(b"x" * size)
    os.utime(folder / name, (1e9 - age, 1e9 - age))
    return folder / name


def test_the_oldest_that_nobody_uses_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate("abcd"):
        trial(tmp_path, name, 1000, age)
    with in_use(tmp_path / "d"):
        trim(tmp_path, 2500)
        assert {one.name for one in tmp_path.iterdir() if one.is_dir()} == {"a", "d"}
        trim(tmp_path, 0)
        assert {one.name for one in tmp_path.iterdir() if one.is_dir()} == {"d"}
    trim(tmp_path, 0)
    assert not [one for one in tmp_path.iterdir() if one.is_dir()]


def test_a_trial_that_begins_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial(tmp_path, "old", 1000, 10)
    with in_use(tmp_path / "new"):
        assert (tmp_path / "old").exists()
    monkeypatch.setenv("PROCON_BUCKET_CACHE_GB", "1e-9")
    with in_use(tmp_path / "new"):
        assert not (tmp_path / "old").exists()


def test_a_limit_that_is_no_number_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCON_BUCKET_CACHE_GB", "much")
    assert limit_bytes() == DEFAULT_GB * 1e9
