"""The ranks of a training and the DeepSpeed engine round its model."""

import logging
import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, distributed

from training.config import TrialConfig
from training.distributed.deepspeed_config import BatchSizes, clips_by_itself, deepspeed_config
from training.errors import TrainingError

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

Result = TypeVar("Result")

_SINGLE_PROCESS = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


_SHARED_MEMORY_OP = "deepspeed_shm_comm"

_TIMEOUT = timedelta(hours=12)
"""How long a rank waits for another: rank 0 alone measures, which on a real model takes longer than the half hour
that a process group allows by default. A rank that dies ends the wait at once, through its broken connection or
through whoever launched the ranks."""


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


def rank() -> int:
    """This process's rank; 0 outside a process group."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of ranks; 1 outside a process group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        distributed.barrier()


def sum_over_ranks(values: Tensor) -> Tensor:
    """``values`` summed over all ranks, in place."""
    if world_size() > 1:
        distributed.all_reduce(values)
    return values


def decision_of_rank_zero(decision: bool, device: torch.device) -> bool:
    """What rank 0 decided, on every rank."""
    if world_size() == 1:
        return decision
    flag = torch.tensor([int(decision)], device=device)
    distributed.broadcast(flag, src=0)
    return bool(flag.item())


def from_rank_zero(compute: Callable[[], Result]) -> Result:
    """What ``compute`` returns on rank 0, on every rank; the others wait, and meet the same error if it raises one."""
    if world_size() == 1:
        return compute()
    outcome: list[tuple[Result | None, Exception | None]] = [(None, None)]
    if rank() == 0:
        try:
            outcome = [(compute(), None)]
        except Exception as error:
            outcome = [(None, error)]
    distributed.broadcast_object_list(outcome, src=0)
    result, raised = outcome[0]
    if raised is not None:
        raise raised
    return cast(Result, result)


def initialise(module: torch.nn.Module, trial: TrialConfig, batches: BatchSizes) -> "DeepSpeedEngine":
    """A DeepSpeed engine with torch's AdamW over the trainable parameters of ``module``.

    Args:
        module: with ``requires_grad`` set on what is trained.
        trial: precision, ZeRO stage, clipping, learning rate, weight decay, overrides.
        batches: from :meth:`BatchSizes.derive`.

    Raises:
        TrainingError: DeepSpeed refuses the overrides.
    """
    import deepspeed
    from deepspeed.runtime.config import DeepSpeedConfig
    from pydantic import ValidationError

    config = deepspeed_config(trial, batches)
    try:
        DeepSpeedConfig(config)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise TrainingError(f"trial.deepspeed.overrides is refused by DeepSpeed ({reasons}): correct it") from error
    except (AssertionError, ValueError) as error:
        raise TrainingError(f"trial.deepspeed.overrides is refused by DeepSpeed ({error}): correct it") from error

    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=trial.learning_rate, weight_decay=trial.weight_decay, betas=(0.9, 0.999), fused=True
    )
    engine, *_ = deepspeed.initialize(model=module, model_parameters=trainable, optimizer=optimizer, config=config)
    return engine


def step(engine: "DeepSpeedEngine", trial: TrialConfig) -> Tensor | float | None:
    """Count one forward and backward pass; the last of an optimizer step moves the weights.

    Returns:
        The global gradient norm before clipping, the same on every rank; none between two optimizer steps.
    """
    last = engine.is_gradient_accumulation_boundary()
    norm: Tensor | float | None = None
    if last and not clips_by_itself(trial):
        norm = torch.nn.utils.clip_grad_norm_(engine.module.parameters(), trial.gradient_clipping)
    engine.step()
    if last and norm is None:
        norm = engine.get_global_grad_norm()
    return norm


def gathered_trainable(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the trained parameters on the CPU, whole even where ZeRO 3 shards them; all ranks must call it."""
    from deepspeed.runtime.zero import GatheredParameters

    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    with GatheredParameters(list(trained.values()), modifier_rank=None):
        return {name: parameter.detach().cpu().clone() for name, parameter in trained.items()}
