"""What is made once for all machines of a sweep in a bucket: directions, references, matched strengths.

Whoever needs one looks for it in the bucket first. Where several machines make the same at once, the first to be done
is the one that counts: the others take what it made, so that no two trials are measured by two directions.
"""

import json
import secrets
import shutil
from pathlib import Path
from typing import Self

from filelock import FileLock

from training.distributed.locks import acquire
from training.errors import StorageError
from training.storage.address import address_of
from training.storage.bucket import FOR_EVER, Bucket, Taken

INDEX = ".index.json"
"""Ending of the object that says which files count."""
MARK = ".bucket"
"""In a folder, and beside a file: that it is in the bucket as it is here, and where."""


class Shared:
    """Files and folders of a local folder that all machines of a sweep have alike.

    Args:
        bucket: the sweep's.
        root: the local folder.
    """

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self.bucket = bucket
        self._root = root

    @classmethod
    def of(cls, root: Path) -> Self | None:
        """Of the local folder ``root``; None for a folder that is no bucket's, which all machines see anyway.

        A store that is out is waited for: without what is shared nothing can be trained, and nobody is at fault.
        """
        address = address_of(root)
        return None if address is None else cls(Bucket(address, FOR_EVER), root)

    def fetch(self, path: Path) -> None:
        """Have ``path`` here, a file or a folder, where the bucket has it and this machine does not."""
        lock = FileLock(self._lock(path))
        acquire(lock)
        try:
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                self._fetch(path)
        finally:
            lock.release()

    def publish(self, path: Path) -> bool:
        """Have the bucket hold ``path`` as it is here; False where another machine was first, whose is here then."""
        lock = FileLock(self._lock(path))
        acquire(lock)
        try:
            if _mark(path).exists():
                return True
            folder = f"{self._key(path)}/{secrets.token_hex(6)}"
            files = [one for one in path.iterdir() if _travels(one)] if path.is_dir() else [path]
            for file in files:
                self.bucket.upload(f"{folder}/{file.name}", file)
            index = {"folder": folder, "files": {file.name: file.stat().st_size for file in files}}
            try:
                self.bucket.create(self._index(path), json.dumps(index).encode())
            except Taken:
                self.bucket.remove([f"{folder}/{file.name}" for file in files])
                self._fetch(path)
                return False
            _mark(path).write_text(folder, encoding="utf-8")
            return True
        finally:
            lock.release()

    def _fetch(self, path: Path) -> None:
        found = self.bucket.read(self._index(path))
        if found is None:
            return
        try:
            index = found.json()
            folder, files = str(index["folder"]), {str(name): int(size) for name, size in index["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{self.bucket.address}/{self._index(path)} is damaged ({error}): remove it, and it is made anew"
            ) from error
        if any("/" in name or name.startswith("..") for name in files):
            raise StorageError(f"{self.bucket.address}/{self._index(path)} names a file that is none of it: remove it")
        if list(files) == [path.name]:
            self.bucket.download(f"{folder}/{path.name}", path, files[path.name])
        else:
            partial = path.with_name(f".{path.name}.fetched")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for name, size in files.items():
                self.bucket.download(f"{folder}/{name}", partial / name, size)
            shutil.rmtree(path, ignore_errors=True)
            partial.rename(path)
        _mark(path).write_text(folder, encoding="utf-8")

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _index(self, path: Path) -> str:
        return f"{self._key(path)}{INDEX}"

    def _lock(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f".{path.name}.share.lock")


def _mark(path: Path) -> Path:
    return path / MARK if path.is_dir() else path.with_name(f".{path.name}{MARK}")


def _travels(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")
