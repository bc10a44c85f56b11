"""What a plan says of a place in a bucket."""

import json
from pathlib import Path

from command_line import procon
from s3_server import BUCKET, LocalS3

from training.storage.bucket import Bucket


def test_a_plan_checks_the_place_and_says_what_it_gets(s3: LocalS3, tmp_path: Path) -> None:
    address = f"s3://{BUCKET}/planned"
    done = procon("plan", "demo", "--out", address, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    model = found["models"]["organism"] if "organism" in found["models"] else next(iter(found["models"].values()))
    one = model["memory"]["checkpoint"]
    assert found["bucket"]["address"] == address
    assert found["bucket"]["uploaded"] >= one * (found["total"]["trials"] - 1)
    assert found["bucket"]["running"] == found["concurrency"]["slots"] * 3 * one
    assert found["bucket"]["ended"] == 2 * one
    said = procon("plan", "demo", "--out", address, folder=tmp_path).stdout
    assert f"{address} gets journal, answers and reports, and of checkpoints at most" in said
    assert "PROCON_BUCKET_CACHE_GB" in said
    assert Bucket(address).is_empty(), "a plan leaves nothing there"


def test_a_plan_refuses_what_a_run_refuses(s3: LocalS3, tmp_path: Path) -> None:
    Bucket(f"s3://{BUCKET}/full").write("sweep.json", b"{}")
    for out, reason in (
        (f"s3://{BUCKET}/full", "is not empty"),
        ("s3://no-such-bucket/a", "there is no such bucket"),
        ("ftp://host/a", "begins with ftp://"),
        (f"s3://{BUCKET}", "names a whole bucket"),
    ):
        for verb in ("plan", "run"):
            done = procon(verb, "demo", "--out", out, folder=tmp_path)
            assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.glob("runs*"))
