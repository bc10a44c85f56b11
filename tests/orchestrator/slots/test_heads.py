"""Whether the head of a cluster takes connections, asked of real sockets."""

import socket
from collections.abc import Iterator

import pytest

from orchestrator.errors import ClusterError
from orchestrator.slots.cluster import answers_at, connect


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as head:
        yield head.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return int(gone.getsockname()[1])


def test_a_head_answers_while_it_takes_connections(port: int, closed: int) -> None:
    assert answers_at(f"127.0.0.1:{port}")
    assert not answers_at(f"127.0.0.1:{closed}")
    assert not answers_at("127.0.0.1:")
    assert not answers_at("nowhere")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_answers_is_refused_at_once(
    scheme: str, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.slots.cluster.DRIVER_ENVIRONMENT", {})  # it would stay with the tests that follow
    address = f"{scheme}127.0.0.1:{closed}"
    with pytest.raises(ClusterError, match=rf"--address \({address}\) cannot be joined: .*refused.*ray start --head"):
        connect(address, "test", gpus=True)
