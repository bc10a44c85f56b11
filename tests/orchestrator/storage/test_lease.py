import json
import subprocess
import sys
import threading
import time

import pytest
from s3_server import LocalS3

from orchestrator.errors import OutputError
from orchestrator.storage import lease as lease_module
from orchestrator.storage.lease import DRIVER, Lease, ask_to_stop, living_driver
from training.storage.bucket import Bucket


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.1)


def told(bucket: Bucket, **changes: object) -> None:
    """The object of a driver elsewhere."""
    about = {"session": "s", "host": "elsewhere", "boot": "b", "pid": 1, "beat": 0, "ended": False, **changes}
    bucket.write(DRIVER, json.dumps(about).encode())


def test_one_drives_until_it_lets_go(bucket: Bucket) -> None:
    assert living_driver(bucket) is None
    first = Lease.take(bucket)
    with pytest.raises(OutputError, match=r"in use: process \d+ on .* drives it.*procon stop"):
        Lease.take(bucket)
    time.sleep(0.5)
    found = bucket.read(DRIVER)
    assert found is not None
    assert found.json()["beat"] > 1
    first.release()
    assert living_driver(bucket) is None
    second = Lease.take(bucket)
    assert first.fault is second.fault is None
    second.release()


def test_a_sign_of_life_whose_answer_was_lost_is_ones_own(
    bucket: Bucket, s3: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "BEAT_PATIENCE", 0.0)
    lease = Lease.take(bucket)
    s3.losing = 3
    time.sleep(2.0)
    assert s3.losing == 0
    assert lease.fault is None
    lease.release()
    assert living_driver(bucket) is None


def test_a_stop_request_is_heard(bucket: Bucket) -> None:
    asked = threading.Event()
    lease = Lease.take(bucket)
    lease.when_asked_to_stop(asked.set)
    assert not asked.wait(0.3)
    ask_to_stop(bucket)
    assert asked.wait(5)
    lease.release()


def test_whoever_was_silent_for_too_long_is_overtaken_and_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 1.5)
    first = Lease.take(bucket)
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", -5.0)
    second = Lease.take(bucket)
    deadline = time.monotonic() + 10
    while first.fault is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first.fault is not None
    assert "another driver has taken" in first.fault
    first.release()
    second.release()
    assert second.fault is None


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(bucket: Bucket) -> None:
    code = (
        "import os, sys; from orchestrator.storage.lease import Lease; from training.storage.bucket import Bucket; "
        "Lease.take(Bucket(sys.argv[1])); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, bucket.address]).returncode == 9
    assert living_driver(bucket) is None
    Lease.take(bucket).release()


def test_others_are_believed_for_a_while(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    told(bucket)
    assert living_driver(bucket) == "process 1 on elsewhere"
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", -5.0)
    assert living_driver(bucket) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"ended": false, "host": 1}', b"\xff", b'{"ended": [}'])
def test_a_damaged_object_is_no_traceback(bucket: Bucket, content: bytes) -> None:
    bucket.write(DRIVER, content)
    assert living_driver(bucket) == "somebody whose sign cannot be read"
    with pytest.raises(OutputError, match="in use"):
        Lease.take(bucket)
