import pytest

from training.errors import StorageError
from training.storage.address import READ, address_of, checked, is_address, local_folder, made_local_folder


def test_an_address_has_one_form() -> None:
    assert checked("s3://bucket/a/b/") == "s3://bucket/a/b"
    assert checked("s3:/bucket/a") == "s3://bucket/a"  # what pathlib makes of it
    assert (
        checked("abfs://container@account.dfs.core.windows.net/a") == "abfs://container@account.dfs.core.windows.net/a"
    )
    assert checked("gs://bucket/lr=1e-4/x") == "gs://bucket/lr=1e-4/x"


def test_folders_are_no_addresses() -> None:
    assert is_address("s3://bucket/a")
    assert is_address("s3:/bucket/a")
    assert not is_address("runs/a:b/c")
    assert not is_address("/data/s3://x")
    assert not is_address("c:/data")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s4://bucket/a", "begins with s4://.*s3://, gs://, abfs://"),
        ("https://bucket/a", "begins with https://"),
        ("s3://", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("s3://bucket", "names a whole bucket"),
        ("s3://bucket/", "names a whole bucket"),
        ("s3://bucket/a/../b", "cannot be a place"),
        ("s3://bucket/a//b", "cannot be a place"),
        ("s3://bucket/\x1b]0;x", "cannot be a place"),
        ("s3://bucket/a?sig=abc", "goes on behind the path"),
        ("s3://bucket/a#b", "goes on behind the path"),
        ("s3://bucket:9000/a", "holds a key or a port.*AWS_ENDPOINT_URL"),
        ("s3://key:secretsecret@bucket/a", "holds a key or a port"),
        ("s3://key@bucket/a", "holds a key or a port"),
    ],
)
def test_what_is_no_place_in_a_bucket_is_refused(address: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as refused:
        checked(address)
    assert str(refused.value).startswith("--out (")
    assert "secretsecret" not in str(refused.value)


def test_a_local_folder_knows_its_address() -> None:
    one, other = "s3://bucket/sweeps/first", "s3://elsewhere/sweeps/first"
    assert len({local_folder(one), local_folder(other), local_folder(one, READ)}) == 3
    folder = made_local_folder(one)
    assert folder == local_folder(one)
    assert address_of(folder) == one
    assert address_of(folder.parent) is None
