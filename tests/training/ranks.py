"""Run a function on several ranks, each a process of its own, joined by gloo."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.multiprocessing as multiprocessing


def _enter(rank: int, world_size: int, port: int, function: Callable[..., Any], path: str, argument: Any) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    from torch import distributed

    from training.distributed.process import start_process

    start_process()
    found = function(argument)
    Path(path, f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()  # rank 0 keeps the store that the others still talk to
    distributed.destroy_process_group()


def on_ranks(world_size: int, function: Callable[[Any], Any], path: Path, argument: Any = None) -> list[Any]:
    """What ``function(argument)`` returns on each rank, through JSON; it must be importable."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path.mkdir(parents=True, exist_ok=True)
    multiprocessing.spawn(_enter, (world_size, port, function, str(path), argument), nprocs=world_size, join=True)
    return [json.loads((path / f"{rank}.json").read_text()) for rank in range(world_size)]
