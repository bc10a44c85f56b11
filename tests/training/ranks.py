"""Run functions on several ranks, each a process of its own, joined by gloo.

The ranks stay up until the tests end: to start one is to import torch, transformers and DeepSpeed, which takes longer
than most of what they are asked for.
"""

import json
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch.multiprocessing as multiprocessing

ANSWER_SECONDS = 600.0


def _serve(rank: int, world_size: int, port: int, orders: Connection) -> None:
    """What a rank does: ``(function, argument)`` from ``orders``, and back what it returned or how it failed."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    from training.distributed.process import start_process

    start_process()
    while True:
        try:
            order = orders.recv()
        except EOFError:  # the tests have ended
            return
        try:
            function, argument = order
            orders.send((json.dumps(function(argument)), None))
        except BaseException:
            orders.send((None, traceback.format_exc()))


class Ranks:
    """Processes that wait for functions to run together."""

    def __init__(self, world_size: int) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._orders: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, world_size, port, theirs), daemon=True)
            process.start()
            theirs.close()
            self._orders.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[[Any], Any], argument: Any) -> list[Any]:
        """What ``function(argument)`` returns on each rank.

        Raises:
            AssertionError: it failed on a rank, whose traceback is the text; the others may be waiting for that rank
                in a collective, so that none of them can be used any more.
        """
        for orders in self._orders:
            orders.send((function, argument))
        answers: dict[int, Any] = {}
        while len(answers) < len(self._orders):
            missing = [orders for rank, orders in enumerate(self._orders) if rank not in answers]
            ready = wait(missing, ANSWER_SECONDS)
            assert ready, f"no answer of a rank within {ANSWER_SECONDS:g} s"
            for orders in ready:
                rank = self._orders.index(orders)
                try:
                    answer, failure = orders.recv()
                except EOFError:
                    answer, failure = None, "it died"
                assert failure is None, f"rank {rank} failed: {failure}"
                answers[rank] = json.loads(answer)
        return [answers[rank] for rank in range(len(self._orders))]

    def end(self) -> None:
        """End the processes, whatever they are doing."""
        for orders, process in zip(self._orders, self._processes, strict=True):
            orders.close()
            process.kill()
            process.join()


_running: dict[int, Ranks] = {}


def on_ranks(
    world_size: int, function: Callable[[Any], Any], argument: Any = None, *, alone: bool = False
) -> list[Any]:
    """What ``function(argument)`` returns on each rank, through JSON.

    Args:
        world_size: how many ranks there are.
        function: it must be importable.
        argument: the same for all ranks.
        alone: on ranks of its own, which a function needs that leaves the process group another than it was.
    """
    if alone:
        ranks = Ranks(world_size)
        try:
            return ranks.run(function, argument)
        finally:
            ranks.end()
    ranks = _running.get(world_size) or _running.setdefault(world_size, Ranks(world_size))
    try:
        return ranks.run(function, argument)
    except BaseException:
        _running.pop(world_size).end()
        raise
