"""DeepSpeed: its configuration from a trial, and an engine round the model."""

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from training.config import TrialConfig
from training.errors import TrainingError

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

Result = TypeVar("Result")

_SINGLE_PROCESS = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


_SHARED_MEMORY_OP = "deepspeed_shm_comm"


@dataclass(frozen=True)
class BatchSizes:
    """How a global batch is shared: ``world_size * micro_batch_size * accumulation`` samples per optimizer step."""

    world_size: int
    micro_batch_size: int
    """Samples per forward pass and rank."""
    accumulation: int
    """Forward passes per optimizer step and rank."""

    @classmethod
    def derive(cls, trial: TrialConfig, world_size: int) -> "BatchSizes":
        """Share the trial's global batch among ``world_size`` ranks.

        Raises:
            TrainingError: it cannot be shared evenly.
        """
        if trial.batch_size % world_size:
            raise TrainingError(
                f"trial.batch_size ({trial.batch_size}) cannot be shared among {world_size} workers: "
                f"use a multiple of {world_size}"
            )
        per_rank = trial.batch_size // world_size
        micro = trial.micro_batch_size or per_rank
        if per_rank % micro:
            raise TrainingError(
                f"trial.micro_batch_size ({micro}) does not divide the {per_rank} samples of each of {world_size} "
                f"workers (trial.batch_size {trial.batch_size}): use a divisor of {per_rank}"
            )
        return cls(world_size, micro, per_rank // micro)

    def __str__(self) -> str:
        """One line for the log."""
        total = self.world_size * self.micro_batch_size * self.accumulation
        return (
            f"global batch {total} = {self.world_size} workers x {self.micro_batch_size} samples "
            f"x {self.accumulation} accumulation steps"
        )


def deepspeed_config(trial: TrialConfig, batches: BatchSizes) -> dict[str, Any]:
    """DeepSpeed's configuration; everything in it follows from the trial and the number of workers."""
    stage = trial.deepspeed.zero_stage
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": batches.micro_batch_size,
        "gradient_accumulation_steps": batches.accumulation,
        "gradient_clipping": trial.gradient_clipping,
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,  # torch's AdamW: DeepSpeed's own compiles for a minute first
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    if trial.precision == "bf16":
        config["bf16"] = {"enabled": True}
    return config


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
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
    import deepspeed

    quiet_deepspeed()
    if device.type == "cpu":
        skip_shared_memory_build()
    backend = "gloo" if device.type == "cpu" else "nccl"
    deepspeed.init_distributed(dist_backend=backend, verbose=False)
    return device


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
        trial: precision, ZeRO stage, clipping, learning rate, weight decay.
        batches: from :meth:`BatchSizes.derive`.
    """
    import deepspeed

    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=trial.learning_rate, weight_decay=trial.weight_decay, betas=(0.9, 0.999), fused=True
    )
    engine, *_ = deepspeed.initialize(
        model=module, model_parameters=trainable, optimizer=optimizer, config=deepspeed_config(trial, batches)
    )
    return engine


def gathered_trainable(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the trained parameters on the CPU, whole even where ZeRO 3 shards them; all ranks must call it."""
    from deepspeed.runtime.zero import GatheredParameters

    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    with GatheredParameters(list(trained.values()), modifier_rank=None):
        return {name: parameter.detach().cpu().clone() for name, parameter in trained.items()}
