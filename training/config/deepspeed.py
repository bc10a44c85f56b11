"""What DeepSpeed is told beyond what follows from a trial."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from training.config.base import Config

_DERIVED = {
    "train_batch_size": "batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "gradient_accumulation_steps": "batch_size and micro_batch_size",
    "managed_gradient_accumulation": "batch_size and micro_batch_size",
    "gradient_clipping": "gradient_clipping",
    "bf16": "precision",
    "fp16": "precision",
    "torch_autocast": "precision",
    "optimizer": "learning_rate and weight_decay",
    "scheduler": "lr_schedule and lr_warmup_steps",
    "zero_allow_untested_optimizer": "nothing, the optimizer is torch's AdamW",
    "zero_force_ds_cpu_optimizer": "nothing, the optimizer is torch's AdamW",
    "activation_checkpointing": "gradient_checkpointing",
}
"""Keys of DeepSpeed's configuration that follow from a trial, and the field that decides each."""

_ONLY_IN_SHARDS = (
    "offload_param",
    "zero_quantized_weights",
    "zero_quantized_nontrainable_weights",
    "zero_quantized_gradients",
    "zero_hpz_partition_size",
)
"""What DeepSpeed passes over without a word below ZeRO 3."""

_PASSED_ON = frozenset(
    {
        "aio",
        "comms_logger",
        "communication_data_type",
        "compile",
        "data_types",
        "disable_allgather",
        "dump_state",
        "flops_profiler",
        "gradient_predivide_factor",
        "memory_breakdown",
        "prescale_gradients",
        "steps_per_print",
        "wall_clock_breakdown",
        "zero_optimization",
    }
)
"""Keys DeepSpeed reads in its place; it would pass over a misspelt one without a word."""


class DeepSpeedConfig(Config):
    """What DeepSpeed is told beyond batch sizes, precision and clipping, which follow from the trial."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    """ZeRO stage: 0 replicates, 1 shards optimizer states, 2 gradients too, 3 parameters too. In bf16, 0 runs as 1."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Merged into the generated configuration at every depth, e.g. ``{zero_optimization: {offload_optimizer:
    {device: cpu}}}``; what follows from the trial is refused."""

    @field_validator("overrides")
    @classmethod
    def _derived_stays_derived(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        for key, instead in _DERIVED.items():
            if key in overrides:
                raise ValueError(f"overrides.{key} follows from the trial: remove it and set {instead}")
        if "tensor_parallel" in overrides:
            raise ValueError(
                "overrides.tensor_parallel is not passed on: it needs ranks that train on the same samples, and a "
                "trial gives every rank its own; zero_stage 3 shards the weights of large models too"
            )
        unknown = sorted(overrides.keys() - _PASSED_ON)
        if unknown:
            raise ValueError(
                f"overrides.{unknown[0]} is not passed on to DeepSpeed: use one of {', '.join(sorted(_PASSED_ON))}"
            )
        zero = overrides.get("zero_optimization")
        if isinstance(zero, Mapping) and "stage" in zero:
            raise ValueError("overrides.zero_optimization.stage follows from the trial: remove it and set zero_stage")
        return overrides

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        zero = self.overrides.get("zero_optimization")
        if not isinstance(zero, Mapping) or self.zero_stage == 3:
            return self
        for key in _ONLY_IN_SHARDS:
            asked = zero.get(key)
            wanted = (
                asked.get("device") in ("cpu", "nvme") if isinstance(asked, Mapping) else asked not in (None, False)
            )
            if wanted and not (key == "zero_hpz_partition_size" and asked == 1):  # its default
                raise ValueError(
                    f"overrides.zero_optimization.{key} has no effect at zero_stage {self.zero_stage}: set zero_stage "
                    "to 3, or remove it"
                )
        return self
