import threading
from pathlib import Path

import pytest
from s3_server import BUCKET, LocalS3

from training.errors import StorageError
from training.storage.address import ADDRESS_FILE
from training.storage.shared import Shared


@pytest.fixture
def machines(s3: LocalS3, tmp_path: Path, request: pytest.FixtureRequest) -> list[Shared]:
    """What two machines have of one sweep."""
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ADDRESS_FILE).write_text(f"s3://{BUCKET}/{request.node.name}")
        shared = Shared.of(tmp_path / name)
        assert shared is not None
        made.append(shared)
    return made


def written(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("direction.json", "direction.safetensors"):
        (folder / name).write_text(f"{name} of {content}")
    return folder


def test_a_folder_of_one_machine_alone_is_shared_with_nobody(tmp_path: Path) -> None:
    assert Shared.of(tmp_path) is None


def test_the_first_to_be_done_counts_for_all(machines: list[Shared], tmp_path: Path) -> None:
    one, other = machines
    first, second = tmp_path / "one/directions/m", tmp_path / "other/directions/m"
    one.fetch(first)
    assert not first.exists()
    written(first, "one")
    written(second, "other")
    assert one.publish(first)
    assert one.publish(first), "it is there already"
    assert not other.publish(second)
    assert (second / "direction.json").read_text() == "direction.json of one"
    assert other.publish(second)
    keys = [entry.key for entry in one.bucket.entries()]
    assert len(keys) == 3, keys


def test_a_machine_that_comes_later_fetches_it(machines: list[Shared], tmp_path: Path) -> None:
    one, other = machines
    one.publish(written(tmp_path / "one/directions/m", "one"))
    ratio = tmp_path / "one/matching/abc.json"
    ratio.parent.mkdir()
    ratio.write_text("{}")
    one.publish(ratio)
    for path in (Path("directions/m"), Path("matching/abc.json"), Path("references/none")):
        threads = [threading.Thread(target=other.fetch, args=(tmp_path / "other" / path,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (tmp_path / "other/directions/m/direction.safetensors").read_text() == "direction.safetensors of one"
    assert (tmp_path / "other/matching/abc.json").read_text() == "{}"
    assert not (tmp_path / "other/references/none").exists()
    assert other.publish(tmp_path / "other/directions/m")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"folder": "x", "files": {"../../evil": 1}}'])
def test_a_damaged_index_is_refused(machines: list[Shared], tmp_path: Path, content: bytes) -> None:
    one, _ = machines
    one.bucket.write("directions/m.index.json", content)
    with pytest.raises(StorageError, match="remove it"):
        one.fetch(tmp_path / "one/directions/m")
    assert not (tmp_path / "evil").exists()
