"""A real server of Azure's protocol on this machine (Azurite, Microsoft's own), where npm has installed it."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

CONTAINER = "sweeps"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of every Azurite: its documentation names it."""
VERSION = "2021-08-06"


def environment(port: int) -> dict[str, str]:
    """What a process needs to find it."""
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
        "AZURE_ALLOW_HTTP": "true",
    }


@contextlib.contextmanager
def local_azure(folder: Path) -> Iterator[dict[str, str]]:
    """A store with one container, for as long as the context lasts; this process's environment, too, points to it."""
    command = shutil.which("azurite-blob")
    if command is None:
        pytest.skip("npm install --global azurite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--blobPort",
        str(port),
        "--location",
        str(folder),
        "--silent",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]
    server = subprocess.Popen([command, *options], stdout=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment(port).items():
                patch.setenv(name, value)
            _make_container(port)
            yield environment(port)
    finally:
        server.terminate()
        server.wait(20)


def _make_container(port: int) -> None:
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    signed = f"x-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    mac = hmac.new(base64.b64decode(KEY), ("PUT" + "\n" * 12 + signed).encode(), hashlib.sha256)
    headers = {
        "x-ms-date": date,
        "x-ms-version": VERSION,
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(mac.digest()).decode()}",
        "Content-Length": "0",
    }
    deadline = time.monotonic() + 60
    while True:
        try:
            store = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            store.request("PUT", f"/{ACCOUNT}/{CONTAINER}?restype=container", headers=headers)
            answer = store.getresponse()
            assert answer.status == 201, answer.read()
            return
        except OSError:
            assert time.monotonic() < deadline, "Azurite did not start"
            time.sleep(0.2)
