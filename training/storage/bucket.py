"""The objects below one address: read, written under a condition, listed, removed; tried again while the store is out.

obstore speaks the protocols of S3, Google and Azure. Its own retries are off: an outage of the store is told to people,
counts as no standstill, and may last as long as whoever asks has patience for.
"""

import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from training.distributed.progress import advance
from training.errors import StorageError
from training.secrets import without_secrets

Result = TypeVar("Result")

PIECE = 16 * 2**20
"""Bytes of a file that go over the network at once: what a request has to get through within its time."""
PARTS = 9_000
"""How many pieces a file may be sent in; S3 allows 10,000."""
REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""Seconds between two attempts: doubled from the first to the longest, less up to half of it by chance."""
PATIENCE = 60.0
"""Seconds for which what people wait for is tried."""
FOR_EVER = float("inf")
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified container does not exist")
"""By which a store says that there is none, and not only no such object."""
ENDPOINTS = ("AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
"""Variables that name a server of one's own."""


class Taken(Exception):
    """An object is there already, or is no longer what it was: somebody else has written it."""


class Unreachable(StorageError):
    """The store gave no answer, or none that helps, for as long as there was patience."""


@dataclass(frozen=True)
class Version:
    """Which content of an object is meant."""

    e_tag: str | None
    version: str | None = None


@dataclass(frozen=True)
class Stored:
    """An object's content."""

    data: bytes
    version: Version
    modified: datetime
    """By the store's clock."""

    def json(self) -> dict[str, Any]:
        """It as JSON.

        Raises:
            ValueError: it is none.
        """
        found = json.loads(self.data)
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found


@dataclass(frozen=True)
class Entry:
    """An object in a listing."""

    key: str
    size: int
    modified: datetime


class Bucket:
    """The objects below an address; safe to use from several threads.

    Args:
        address: a checked one.
        patience: seconds for which each request is tried while the store is out.
        tell: called with a sentence when the store is out, and with none when it is back.
    """

    def __init__(
        self,
        address: str,
        patience: float = PATIENCE,
        tell: Callable[[str | None], None] = lambda _sentence: None,
    ) -> None:
        self.address = address
        self.patience = patience
        self.tell = tell
        self._objects = _opened(address)

    def read(self, key: str) -> Stored | None:
        """The object ``key``; None where there is none."""

        def get() -> Stored | None:
            try:
                found = self._objects.get(key)
                data = bytes(found.bytes())
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None
            return Stored(data, _version(found.meta), found.meta["last_modified"])

        return self._patiently(f"reading {key}", get)

    def write(self, key: str, data: bytes) -> None:
        """Put ``data`` there, whatever was there before."""
        self._patiently(f"writing {key}", lambda: self._put(key, data, "overwrite"))

    def create(self, key: str, data: bytes) -> Version:
        """Put ``data`` where nothing is.

        Raises:
            Taken: something else is there. The very same is what an earlier attempt wrote whose answer was lost.
        """
        return self._under_condition(key, data, "create")

    def exchange(self, key: str, data: bytes, before: Version) -> Version:
        """Put ``data`` in the place of the content ``before``; it must differ from all that was ever there.

        Raises:
            Taken: something else is there by now, or nothing.
        """
        return self._under_condition(key, data, {name: tag for name, tag in vars(before).items() if tag is not None})

    def upload(self, key: str, file: Path) -> None:
        """Put the content of ``file`` there."""
        piece = max(PIECE, file.stat().st_size // PARTS + 1)
        self._patiently(f"writing {key}", lambda: self._objects.put(key, file, chunk_size=piece, max_concurrency=4))
        advance()

    def download(self, key: str, file: Path, size: int) -> None:
        """Fetch an object of ``size`` bytes into ``file``, which has it whole afterwards or is not there.

        Raises:
            StorageError: the object is not there, or has another size.
        """
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as written:
                while (done := written.tell()) < size:
                    written.write(self._piece(key, done, min(done + PIECE, size)))
                    advance()
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def _piece(self, key: str, start: int, end: int) -> bytes:
        def get() -> bytes:
            try:
                return bytes(self._objects.get_range(key, start=start, end=end))
            except FileNotFoundError as error:
                raise StorageError(f"{self.address}/{key} is missing: it was removed meanwhile") from error

        found = self._patiently(f"reading {key}", get)
        if len(found) != end - start:
            raise StorageError(f"{self.address}/{key} is shorter than it was said to be: it was written anew meanwhile")
        return found

    def entries(self, prefix: str = "") -> list[Entry]:
        """All objects whose key begins with the folder ``prefix``, by key."""

        def collect() -> list[Entry]:
            found = self._objects.list(prefix or None).collect()
            return sorted((Entry(o["path"], o["size"], o["last_modified"]) for o in found), key=lambda one: one.key)

        return self._patiently("listing what is there", collect)

    def is_empty(self) -> bool:
        """Whether there is no object at all."""

        def look() -> bool:
            return not any(len(some) for some in self._objects.list(chunk_size=10))

        return self._patiently("listing what is there", look)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove these objects; those that are not there are passed over."""

        def delete() -> None:
            try:
                self._objects.delete(list(keys))
            except FileNotFoundError:  # S3 says nothing of one that is not there; of others some may be left then
                for key in keys:
                    with contextlib.suppress(FileNotFoundError):
                        self._objects.delete(key)

        if keys:
            self._patiently(f"removing {keys[0]}", delete)

    def _put(self, key: str, data: bytes, mode: Any) -> Version:
        return _version(self._objects.put(key, data, mode=mode, use_multipart=False))

    def _under_condition(self, key: str, data: bytes, mode: Any) -> Version:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def put() -> Version:
            try:
                return self._put(key, data, mode)
            except (AlreadyExistsError, PreconditionError) as error:
                found = self.read(key)
                if found is not None and found.data == data:  # of an attempt whose answer was lost
                    return found.version
                raise Taken(key) from error

        return self._patiently(f"writing {key}", put)

    def _patiently(self, doing: str, request: Callable[[], Result]) -> Result:
        """What ``request`` returns, tried again while the store is out.

        Raises:
            Unreachable: it was out for longer than there is patience.
            StorageError: the store answers, and refuses.
        """
        from obstore.exceptions import BaseError

        deadline = time.monotonic() + self.patience
        told = False
        for pause in _pauses():
            try:
                found = request()
            except (BaseError, OSError) as error:
                refusal = _refusal(error, self.address)
                if refusal is not None:
                    raise StorageError(refusal) from error
                sentence = f"{self.address} cannot be reached ({doing}: {_first_line(error)})"
                if time.monotonic() + pause > deadline:
                    raise Unreachable(
                        f"{sentence}: see that this machine has the network, and AWS_ENDPOINT_URL the right server"
                    ) from error
                if not told and pause >= 2.0:  # what lasts a moment is no news
                    self.tell(f"{sentence}; it is tried again until it answers")
                    told = True
            else:
                if told:
                    self.tell(None)
                return found
            advance()
            time.sleep(pause * random.uniform(0.5, 1.0))
        raise AssertionError("pauses have no end")

    def _refuse_missing_bucket(self, error: Exception) -> None:
        if any(code in str(error) for code in NO_BUCKET):
            raise StorageError(str(_refusal(error, self.address))) from error


def _opened(address: str) -> Any:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise StorageError(
            f"{address} is in a bucket, and obstore is not installed: pip install 'procon-sweeps[buckets]'"
        ) from error
    options: Any = {
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
    }
    if any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS):
        options["allow_http"] = True
    never: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=REQUEST_SECONDS)}
    try:
        return from_url(address, client_options=options, retry_config=never)
    except (BaseError, ValueError) as error:
        raise StorageError(
            f"{address} cannot be opened ({_first_line(error)}): see its spelling, and the environment that names "
            "account, region and keys"
        ) from error


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def _version(meta: Any) -> Version:
    return Version(meta["e_tag"], meta["version"])


def _first_line(error: Exception) -> str:
    """What ``error`` says, without the store's answer as a page and without secrets."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return without_secrets(text.split(": <?xml")[0])[:300]


def _refusal(error: Exception, address: str) -> str | None:
    """Why it makes no sense to ask again, in a sentence; None where the store may answer yet."""
    from obstore.exceptions import NotSupportedError, PermissionDeniedError, UnauthenticatedError

    text = str(error)
    if any(code in text for code in NO_BUCKET):
        return f"{address}: there is no such bucket: make it first, or see the name"
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or " 403 " in text or " 401 " in text:
        if "169.254." in text or "/token" in text:
            return _without_keys(address)
        return (
            f"{address}: access is refused ({_first_line(error)}): see that the keys may read, write, list and delete"
        )
    if "169.254." in text or "InstanceMetadata" in text:  # where a machine in a cloud would have its role from
        return _without_keys(address)
    if isinstance(error, NotSupportedError):
        return f"{address}: the store cannot do what a sweep needs ({_first_line(error)})"
    if any(code in text for code in (" 301 ", " 400 ")):
        return (
            f"{address}: the store refuses the request ({_first_line(error)}): see AWS_REGION, and whether keys expired"
        )
    return None


def _without_keys(address: str) -> str:
    named = {
        "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (aws configure export-credentials --format env prints them)",
        "gs": "GOOGLE_APPLICATION_CREDENTIALS",
        "abfs": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    }[address.partition(":")[0]]
    return f"{address}: this machine has no keys for it, and no role in a cloud: set {named}"
