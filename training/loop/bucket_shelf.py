"""Checkpoints of a training whose machines share no folder: each has its own, and the bucket has them all.

Every method is called by all ranks. What a machine has to do once is done by whichever of its ranks comes first.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from training.distributed import ranks
from training.distributed.locks import acquire
from training.storage.bucket import FOR_EVER, PATIENCE
from training.storage.checkpoints import Published, StoredCheckpoints

Result = TypeVar("Result")

_FOLDER = ".folder"
"""In a checkpoint's local folder: of which folder in the bucket it is the whole content."""
_UPLOADED = ".uploaded"
"""In one that is being written: what this machine has put into the bucket of it."""


@dataclass(frozen=True)
class BucketShelf:
    """The checkpoints of one training."""

    store: StoredCheckpoints
    directory: Path
    """This machine's, of this training alone."""
    keep: int
    """How many of the newest stay."""
    point_to: Callable[[Path], None]
    """Makes a local one the one to be read."""
    say: Callable[[str], None]
    """Told in a sentence when the store is out."""

    def take(self, *, resume: bool) -> None:
        """Be the one attempt that publishes, with none to go on from where ``resume`` is false."""
        self.store.bucket.tell = lambda sentence: self.say(sentence) if sentence is not None else None
        self.store.bucket.patience = FOR_EVER
        ranks.from_rank_zero(lambda: self.store.take(resume=resume))

    def fetch(self) -> None:
        """Have the newest one here, and no other."""
        newest = ranks.from_rank_zero(lambda: next(reversed(self.store.published), None))
        self.store.bucket.patience = FOR_EVER
        self._on_every_machine(lambda: self._fetch(newest))

    def make_room(self, prefix: str) -> None:
        """Remove here what earlier attempts left half-written under names that begin with ``prefix``."""

        def make() -> None:
            self.directory.mkdir(parents=True, exist_ok=True)
            for left_over in self.directory.glob(f"{prefix}*"):
                shutil.rmtree(left_over)

        self._on_every_machine(make)

    def publish(self, written: Path, name: str, finish: Callable[[dict[str, int]], Path], *, last: bool) -> None:
        """Put what all machines wrote into the bucket; from then on it counts.

        Args:
            written: the local folder that each machine wrote its part into.
            name: what the checkpoint is called.
            finish: writes the file that says what all of it is into ``written``, from bytes by name, and returns it.
            last: whether it holds the trained model: a store that is out is then waited for.

        Raises:
            CheckpointError: another attempt has taken the training over.
            StorageError: the store is out, or refuses; nothing has changed then.
        """
        self.store.bucket.patience = FOR_EVER if last else PATIENCE
        folder = ranks.from_rank_zero(lambda: self.store.new_folder(name))
        files: dict[str, int] = {}
        for some in self._on_every_machine(lambda: self._upload(written, folder)):
            files |= some

        def publish() -> None:
            manifest = finish(files)
            self.store.bucket.upload(self.store.key(f"{folder}/{manifest.name}"), manifest)
            whole = {**files, manifest.name: manifest.stat().st_size}
            self.store.publish(Published(name, folder, whole), self.keep)

        ranks.from_rank_zero(publish)
        self._on_every_machine(lambda: self._settle(written, name, folder))

    def give_up(self, written: Path) -> None:
        """Remove here what could not be published."""
        self._on_every_machine(lambda: shutil.rmtree(written, ignore_errors=True))

    def _upload(self, written: Path, folder: str) -> dict[str, int]:
        done = written / _UPLOADED
        if done.is_file():
            return dict(json.loads(done.read_text(encoding="utf-8")))
        files = self.store.upload(folder, written)
        done.write_text(json.dumps(files), encoding="utf-8")
        return files

    def _settle(self, written: Path, name: str, folder: str) -> None:
        if not written.is_dir():
            return
        (written / _UPLOADED).unlink()
        (written / _FOLDER).write_text(folder, encoding="utf-8")
        final = self.directory / name
        shutil.rmtree(final, ignore_errors=True)
        written.rename(final)
        self.point_to(final)
        for old in self.directory.glob("step-*"):
            if old.name != name:
                shutil.rmtree(old)

    def _fetch(self, newest: Published | None) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for other in self.directory.glob("step-*"):
            if newest is None or other.name != newest.name or _folder(other) != newest.folder:
                shutil.rmtree(other)
        if newest is None:
            return
        local = self.directory / newest.name
        local.mkdir(exist_ok=True)
        self.store.download(newest, local)
        (local / _FOLDER).write_text(newest.folder, encoding="utf-8")
        self.point_to(local)

    def _on_every_machine(self, do: Callable[[], Result]) -> list[Result]:
        """What ``do`` returns on each rank, which go one after another where they share the folder."""
        lock = FileLock(self.directory.with_name(f".{self.directory.name}.lock"))
        outcome: tuple[Result | None, Exception | None]
        try:
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            acquire(lock)
            outcome = do(), None
        except ranks.FailedAlone:
            raise
        except Exception as error:
            outcome = None, ranks.portable(error)
        finally:
            lock.release()
        found = ranks.from_all_ranks(outcome)
        raised = next((error for _, error in found if error is not None), None)
        if raised is not None:
            raise raised
        return [result for result, _ in found]  # type: ignore[misc]  # without an error there is a result


def _folder(checkpoint: Path) -> str | None:
    with suppress(OSError, ValueError):
        return (checkpoint / _FOLDER).read_text(encoding="utf-8")
    return None
