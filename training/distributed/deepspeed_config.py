"""DeepSpeed's configuration, and how a global batch is shared: both follow from the trial and the number of workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.config import TrialConfig
from training.errors import TrainingError

BUCKET = 5 * 10**8
"""Gradients that DeepSpeed reduces at once unless told otherwise. It takes the memory for them however few are trained:
1 GB in bf16, many times what adapters need."""
WHOLE_SHARE = 20
"""Under ZeRO 3 at most one in so many parameters is kept whole for a module that runs again soon: the backward pass of
a layer that was just computed again. The bucket of gradients is no larger either."""
LIVE_SHARE = 50
"""Nothing is fetched ahead once one in so many is whole, so that the head is not fetched beside many."""
AHEAD_SHARE = 200
"""At most one in so many is fetched ahead together: DeepSpeed holds what it fetches together twice for a while."""
_OF_PARTS = (
    "offload_param",
    "zero_hpz_partition_size",
    "zero_quantized_weights",
    "zero_quantized_nontrainable_weights",
    "memory_efficient_linear",
)
"""Settings below ``zero_optimization`` that count when a model is partitioned, and not when it is trained."""


@dataclass(frozen=True)
class BatchSizes:
    """How a global batch is shared: ``world_size * micro_batch_size * accumulation`` samples per optimizer step."""

    world_size: int
    micro_batch_size: int
    """Samples per forward pass and rank."""
    accumulation: int
    """Forward passes per optimizer step and rank."""
    beside: int = 0
    """Backward passes per optimizer step and rank that are of none of these samples."""

    @property
    def passes(self) -> int:
        """Backward passes per optimizer step and rank, over which DeepSpeed accumulates gradients and averages them."""
        return self.accumulation + self.beside

    @property
    def smaller(self) -> int | None:
        """At most half of the micro-batch, a divisor of a rank's share; None where it is one sample already."""
        half = self.micro_batch_size // 2
        return _largest_divisor(self.micro_batch_size * self.accumulation, half) if half else None

    @classmethod
    def derive(cls, trial: TrialConfig, world_size: int, at_most: int | None = None) -> "BatchSizes":
        """Share the trial's global batch among ``world_size`` ranks.

        Args:
            trial: with its global batch.
            world_size: number of ranks.
            at_most: samples per forward pass and rank that memory suffices for; None where the trial alone decides.

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
        if at_most is not None and at_most < micro:
            micro = _largest_divisor(per_rank, at_most)
        return cls(world_size, micro, per_rank // micro, trial.constraint.extra_passes)

    def __str__(self) -> str:
        """One line for the log."""
        total = self.world_size * self.micro_batch_size * self.accumulation
        return (
            f"global batch {total} = {self.world_size} workers x {self.micro_batch_size} samples "
            f"x {self.accumulation} accumulation steps"
        )


def _largest_divisor(number: int, limit: int) -> int:
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)


def stage_sentence(trial: TrialConfig) -> str | None:
    """What is said where another ZeRO stage is run than the trial asks for; None where it is the same."""
    asked = trial.deepspeed.zero_stage
    if trial.zero_stage == asked:
        return None
    return (
        f"trial.deepspeed.zero_stage ({asked}) is run as {trial.zero_stage}: with precision bf16 DeepSpeed needs it to "
        "count its optimizer steps rightly and to add gradients up in float32"
    )


def clips_by_itself(trial: TrialConfig) -> bool:
    """Whether DeepSpeed clips and reports the gradient norm; in its plain float32 path it clips and keeps no norm."""
    return trial.zero_stage > 0


def deepspeed_config(
    trial: TrialConfig, batches: BatchSizes, parameters: int | None = None, trained: int | None = None
) -> dict[str, Any]:
    """What the trial and the number of workers decide, with ``trial.deepspeed.overrides`` merged in.

    Args:
        trial: precision, ZeRO stage, clipping, overrides.
        batches: from :meth:`BatchSizes.derive`.
        parameters: how many the model has, by which ZeRO 3 is told how much of it may be whole at a time; None leaves
            DeepSpeed's own limits.
        trained: how many of them are trained, than which no bucket of gradients need be larger; None leaves
            DeepSpeed's.
    """
    limits = _limits(parameters) if trial.zero_stage == 3 else {}
    if trained is not None and trial.zero_stage > 0:
        limits["reduce_bucket_size"] = max(1, min(trained, limits.get("reduce_bucket_size", BUCKET)))
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": batches.micro_batch_size,
        "gradient_accumulation_steps": batches.passes,
        "gradient_clipping": trial.gradient_clipping if clips_by_itself(trial) else 0.0,
        "zero_optimization": {"stage": trial.zero_stage} | limits,
        "zero_allow_untested_optimizer": True,  # torch's AdamW: DeepSpeed's own compiles for a minute first
        "zero_force_ds_cpu_optimizer": False,  # the same when optimizer states are offloaded
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    if trial.precision == "bf16":
        config["bf16"] = {"enabled": True}
        # Over the forward passes of a step: a bf16 sum loses what is smaller than 1/256 of it.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return merged(config, trial.deepspeed.overrides)


def _limits(parameters: int | None) -> dict[str, Any]:
    """How much of a model of so many parameters ZeRO 3 may hold whole, beside the module that is running.

    DeepSpeed's own limits are numbers of parameters for large models; under them the whole of a model of 1B stays in
    the memory of every rank from the forward to the backward pass. What is fetched ahead need only be
    the next matrix: for models of 8B to 70B this is 40 to 50 million numbers, where transformers' ``auto`` says 15 to
    60 million.
    """
    if parameters is None:
        return {}
    share = parameters // WHOLE_SHARE
    return {
        "stage3_max_live_parameters": min(parameters // LIVE_SHARE, 10**9),
        "stage3_max_reuse_distance": min(share, 10**9),
        "stage3_prefetch_bucket_size": min(parameters // AHEAD_SHARE, 5 * 10**7),
        "stage3_model_persistence_threshold": share,
        "reduce_bucket_size": max(1, min(share, BUCKET)),
    }


def sharding_config(trial: TrialConfig) -> dict[str, Any]:
    """What a model is partitioned with before there is an engine: all that decides where its parts are kept, and how.

    Trials for which this is the same share the partitioned base model.
    """
    zero = trial.deepspeed.overrides.get("zero_optimization", {})
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 3, **{name: zero[name] for name in _OF_PARTS if name in zero}},
    }
    if trial.precision == "bf16":
        config["bf16"] = {"enabled": True}
    if "aio" in trial.deepspeed.overrides:
        config["aio"] = trial.deepspeed.overrides["aio"]
    return config


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` written over it, block by block and at every depth; neither is changed."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result
