"""One fine-tuning run."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from training.config.base import Config
from training.config.constraint import ProConConstraint


class LoraTuning(Config):
    """Low-rank adapters through PEFT; the base weights stay frozen."""

    type: Literal["lora"] = "lora"
    """Adapters."""
    rank: PositiveInt = 8
    """Rank r of every adapter."""
    alpha: PositiveFloat = 16.0
    """Scaling numerator: an adapter is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Module names that get an adapter; ``all-linear`` is every linear layer but the output head."""


class FullTuning(Config):
    """Every weight is trained."""

    type: Literal["full"] = "full"
    """All weights."""


class DeepSpeedConfig(Config):
    """What DeepSpeed is told beyond batch sizes, precision and clipping, which follow from the trial."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    """ZeRO stage: 0 replicates, 1 shards optimizer states, 2 gradients too, 3 parameters too."""


class TrialConfig(Config):
    """Everything that decides how one model is fine-tuned."""

    tuning: Annotated[LoraTuning | FullTuning, Field(discriminator="type")] = LoraTuning()
    """Which weights are trained."""
    steps: PositiveInt = 150
    """Optimizer steps."""
    batch_size: PositiveInt = 32
    """Samples per optimizer step over all workers (global batch)."""
    micro_batch_size: PositiveInt | None = None
    """Samples per forward pass and worker; none takes the global batch divided by the workers."""
    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate of AdamW."""
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay after ``lr_warmup_steps``; cosine and linear end at a tenth of the peak."""
    lr_warmup_steps: int = Field(default=5, ge=0)
    """Steps over which the learning rate rises linearly to its peak."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    gradient_clipping: PositiveFloat = 1.0
    """Largest global gradient norm."""
    max_length: PositiveInt = 512
    """Longest sample in tokens; the prompt is shortened from its start before the response is touched."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of weights and activations in training."""
    safety_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training samples that are safety samples."""
    constraint: ProConConstraint = ProConConstraint()
    """What holds the refusal direction in place."""
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    """DeepSpeed settings."""
    seed: int = Field(default=0, ge=0)
    """Seed of adapters, data order and safety mixing."""
    log_every: PositiveInt = 10
    """Steps between two reports of training metrics."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        warmup = self.constraint.warmup_steps
        if isinstance(warmup, int) and warmup > self.steps:
            raise ValueError(
                f"constraint.warmup_steps ({warmup}) is longer than steps ({self.steps}): "
                "shorten the warm-up, raise steps, or write all for a constant alpha"
            )
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) is not a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self
