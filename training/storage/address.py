"""Addresses of buckets, as ``--out`` may name one, and the local folder that a machine keeps for each."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from training.errors import StorageError

SCHEMES = ("s3", "gs", "abfs")
"""Of Amazon and whatever speaks its protocol, of Google, of Azure."""
ADDRESS_FILE = ".address"
"""In the local folder of a bucket's sweep: where the sweep really is."""
DRIVEN, READ = "driven", "read"
"""What a machine keeps a local folder for: to train and drive, or to read what others drive."""
EXAMPLE = "s3://bucket/sweeps/first"
OF_THIS_MACHINE = ("GOOGLE_APPLICATION_CREDENTIALS", "AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
_PART = re.compile(r"[\w .@+=,-]+")


def is_address(text: str) -> bool:
    """Whether ``text`` is meant as an address and not as a folder; a shell's path may have lost one of its slashes."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


def checked(text: str, field: str = "--out") -> str:
    """The address ``text`` as it is written everywhere: without a slash at its end.

    Args:
        text: such as :data:`EXAMPLE`.
        field: what names it, for messages.

    Raises:
        StorageError: it is none.
    """
    split = urlsplit(re.sub(r":/(?!/)", "://", text, count=1))
    shown = re.sub(r"(?<=//)[^/@]*:[^/@]*@", "***@", text)
    if split.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise StorageError(f"{field} ({shown}) begins with {split.scheme}://: name a folder, or a bucket by {known}")
    if ":" in split.netloc or ("@" in split.netloc and split.scheme != "abfs"):
        raise StorageError(
            f"{field} ({shown}) holds a key or a port: keys belong into the environment, and a server of your own "
            "into AWS_ENDPOINT_URL"
        )
    if split.query or split.fragment:
        raise StorageError(f"{field} ({shown.partition('?')[0]}) goes on behind the path: write it without ? and #")
    if not _NAME.fullmatch(split.netloc):
        raise StorageError(f"{field} ({shown}) names no bucket: write it like {EXAMPLE}")
    parts = split.path.strip("/").split("/")
    if parts == [""]:
        raise StorageError(f"{field} ({shown}) names a whole bucket: name a place in it, like {EXAMPLE}")
    if any(not _PART.fullmatch(part) or part in (".", "..") for part in parts):
        raise StorageError(
            f"{field} ({shown!r}) cannot be a place in a bucket: use letters, digits and . _ - between single slashes"
        )
    return f"{split.scheme}://{split.netloc}/{'/'.join(parts)}"


def local_folder(address: str, use: str = DRIVEN) -> Path:
    """Where this machine keeps what it has of the sweep at ``address``; it need not be there.

    It lies in the user's cache folder, or below ``$PROCON_CACHE``: what is not in the bucket yet is nowhere else.

    Args:
        address: a checked one.
        use: :data:`DRIVEN` or :data:`READ`.
    """
    configured = os.environ.get("PROCON_CACHE")
    root = Path(configured).expanduser() if configured else user_cache_path("procon-sweeps")
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    return (root / "buckets" / f"{address.rpartition('/')[2]}-{digest}" / use).absolute()


def made_local_folder(address: str, use: str = DRIVEN) -> Path:
    """:func:`local_folder`, which is there afterwards and knows its address.

    Raises:
        StorageError: it cannot be made.
    """
    folder = local_folder(address, use)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ADDRESS_FILE).write_text(address, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{folder}, where this machine keeps what it has of {address}, cannot be written ({error.strerror}): set "
            "PROCON_CACHE to a folder that can"
        ) from error
    return folder


def address_of(folder: Path) -> str | None:
    """The address of the sweep that ``folder`` is the local folder of; None for any other folder."""
    try:
        return (folder / ADDRESS_FILE).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def bucket_environment() -> dict[str, str]:
    """What of this process's environment says where the stores are and who may use them, for other machines.

    A file of keys is on this machine alone.
    """
    told = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))}
    return {name: value for name, value in told.items() if name not in OF_THIS_MACHINE}
