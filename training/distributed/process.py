"""This process made ready for training: device, threads, process group, and a DeepSpeed that keeps quiet."""

import logging
import os
import sys
import warnings
from datetime import timedelta

import torch
from torch import distributed

_SINGLE_PROCESS = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
_SHARED_MEMORY_OP = "deepspeed_shm_comm"
_TIMEOUT = timedelta(hours=12)
"""How long a rank waits for another: rank 0 alone asks the judges, which may take longer than the half hour
that a process group allows by default. A rank that dies ends the wait at once, through its broken connection or
through whoever launched the ranks."""


def import_deepspeed() -> None:
    """Import DeepSpeed without MLflow, which its autotuner imports where it is installed.

    Nothing here tunes by it, and it is a fifth of what a worker imports before its first step.
    """
    if "mlflow" in sys.modules:
        import deepspeed
    else:
        sys.modules["mlflow"] = None  # type: ignore[assignment]  # an import of it fails, as where it is not installed
        try:
            import deepspeed  # noqa: F401
        finally:
            del sys.modules["mlflow"]


def skip_shared_memory_build() -> None:
    """Keep DeepSpeed from compiling its CPU collectives, which takes 40 s and hangs after a build that was killed.

    gloo does their work. The table is private to DeepSpeed, and a test notices when it moves; it is set as a whole
    because reading it first would run the compiler once for each of DeepSpeed's operators.
    """
    import deepspeed.ops

    vars(deepspeed.ops)["__compatible_ops__"] = {_SHARED_MEMORY_OP: False}


def quiet_deepspeed() -> None:
    """DeepSpeed reports every phase of its own start-up, and torch each of DeepSpeed's calls of an old name."""
    from deepspeed.utils import logger

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    logger.setLevel(logging.ERROR)


def device_of_process() -> torch.device:
    """The accelerator of this rank, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


def start_process() -> torch.device:
    """Ready this process for training: environment, threads, process group. Calling it again does nothing more.

    Whoever launches several ranks sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or initialises
    torch.distributed; DeepSpeed wants them for a single process too, which gets them here.

    Returns:
        The device of this rank.
    """
    device = device_of_process()
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        torch.set_num_threads(1)  # more threads than one per worker fight for the cores: 3 to 20 times slower
    else:
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        for name, value in _SINGLE_PROCESS.items():
            os.environ.setdefault(name, value)
    own_port = not distributed.is_initialized() and "MASTER_PORT" not in os.environ
    if own_port:
        os.environ["MASTER_PORT"] = str(_free_port())
    import_deepspeed()
    import deepspeed

    quiet_deepspeed()
    if device.type == "cpu":
        skip_shared_memory_build()
    backend = "gloo" if device.type == "cpu" else "nccl"
    deepspeed.init_distributed(dist_backend=backend, verbose=False, timeout=_TIMEOUT)
    if own_port:
        del os.environ["MASTER_PORT"]  # a process that this one starts must look for a port of its own
    _wait_long()
    return device


def _wait_long() -> None:
    """Give a process group that was made elsewhere, by Ray Train say, the timeout of our own.

    The function is private to torch, and a test notices when it moves.
    """
    distributed.distributed_c10d._set_pg_timeout(_TIMEOUT)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
