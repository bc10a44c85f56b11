"""One fine-tuning run."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from training.config.base import Config
from training.config.constraint import (
    Constraint,
    L2InitConstraint,
    NullSpaceConstraint,
    ProConConstraint,
    SafeGradConstraint,
)
from training.config.deepspeed import DeepSpeedConfig
from training.config.tuning import AdapterTuning, FullTuning, LoraTuning, QLoraTuning


class ReferencesConfig(Config):
    """What is kept of the initial model: projections or log-probabilities of every token, whichever is compared."""

    precision: Literal["fp32", "fp16"] = "fp32"
    """Number format on disk and in memory; fp16 halves both, and changes below its rounding count as none."""


class TrialConfig(Config):
    """Everything that decides how one model is fine-tuned."""

    tuning: Annotated[LoraTuning | QLoraTuning | FullTuning, Field(discriminator="type")] = LoraTuning()
    """Which weights are trained."""
    steps: PositiveInt = 150
    """Optimizer steps; where ``epochs`` are given, they follow from those."""
    epochs: PositiveFloat | None = None
    """Instead of ``steps``: passes over all samples that are trained on, rounded up to whole batches."""
    task_samples: PositiveInt | None = None
    """Samples of data.task that epochs are passes over; a sweep counts them before it starts."""
    batch_size: PositiveInt = 32
    """Samples per optimizer step over all workers (global batch)."""
    micro_batch_size: PositiveInt | None = None
    """Samples per forward pass and worker; None takes the global batch divided by the workers."""
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
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third more time."""
    packing: bool | Literal["auto"] = False
    """Put several samples into each row of ``max_length`` tokens: the same training with less padding. ``true`` is
    refused where the model does not keep the samples of a row apart, ``auto`` packs where it does and says where not.
    Off by default: batches are grouped by length anyway, and a row of short samples costs attention over all of it."""
    safety_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training samples that are safety samples."""
    safety_count: int | None = Field(default=None, ge=0)
    """Safety samples that join the task samples as one data set (the paper adds 1,000), instead of a share."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Measure and export an exponential moving average of the weights, over about 1 / (1 - ema_decay) steps, in place
    of the last ones; None takes the last ones."""
    malicious_count: int = Field(default=0, ge=0)
    """Samples of data.malicious that are trained on as if they belonged to the task: an attack on the data. The paper
    has one of 100."""
    constraint: Constraint = ProConConstraint()
    """What holds the model's behaviour in place."""
    references: ReferencesConfig = ReferencesConfig()
    """What of the initial model is kept to compare with."""
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    """DeepSpeed settings."""
    seed: int = Field(default=0, ge=0)
    """Seed of adapters, data order and safety mixing."""
    log_every: PositiveInt = 10
    """Steps between two reports of training metrics."""
    checkpoint_every: PositiveInt = 50
    """Steps between two checkpoints, where the trial is given a place for them."""

    @property
    def counts_epochs(self) -> bool:
        """Whether some length is given as passes over the data."""
        return self.epochs is not None or getattr(self.constraint, "warmup_epochs", None) is not None

    def steps_of(self, epochs: float) -> int:
        """Optimizer steps of so many passes over the training samples, whose number must be known."""
        assert self.task_samples is not None, "epochs are passes over data that nobody has counted"
        samples = (self.task_samples + self.malicious_count + (self.safety_count or 0)) / (1 - self.safety_share)
        return math.ceil(epochs * samples / self.batch_size - 1e-9)

    @property
    def zero_stage(self) -> Literal[0, 1, 2, 3]:
        """The ZeRO stage that is run: in bf16 at least 1.

        At stage 0 DeepSpeed's bf16 begins with an optimizer step of its own, on gradients of 0, and cannot add
        gradients up in float32.
        """
        stage = self.deepspeed.zero_stage
        return 1 if stage == 0 and self.precision == "bf16" else stage

    @property
    def row_length(self) -> int | None:
        """Tokens per packed row; None where every sample has a row, or ``auto`` was not decided yet."""
        return self.max_length if self.packing is True else None

    @property
    def total_steps(self) -> int:
        """Optimizer steps in all: ``steps``, and before them the constraint's warm-up where it is extra."""
        return self.steps + self.constraint.extra_steps

    @model_validator(mode="after")
    def _steps_from_epochs(self) -> Self:
        """The model is frozen for everybody else."""
        if self.task_samples is None:
            return self
        if self.epochs is not None:
            object.__setattr__(self, "steps", self.steps_of(self.epochs))
        warmup = getattr(self.constraint, "warmup_epochs", None)
        if warmup is not None:
            block = self.constraint.model_copy(update={"warmup_steps": self.steps_of(warmup)})
            object.__setattr__(self, "constraint", block)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        warmup = getattr(self.constraint, "warmup_steps", None)
        if isinstance(warmup, int) and warmup > self.steps and not self.constraint.extra_steps:
            raise ValueError(
                f"constraint.warmup_steps ({warmup}) is longer than steps ({self.steps}): "
                "shorten the warm-up, raise steps, write warmup extra, or write all for a constant alpha"
            )
        if isinstance(self.constraint, NullSpaceConstraint) and not isinstance(self.tuning, AdapterTuning):
            raise ValueError(
                f"constraint.type (null_space) limits what adapters see, and tuning.type ({self.tuning.type}) has "
                "none: set tuning.type to lora"
            )
        if isinstance(self.constraint, NullSpaceConstraint) and getattr(self.tuning, "use_dora", False):
            raise ValueError(
                "constraint.type (null_space) takes directions out of B A, and tuning.use_dora (true) scales whole "
                "weights besides: turn it off"
            )
        wholly = L2InitConstraint | SafeGradConstraint | NullSpaceConstraint
        if isinstance(self.constraint, wholly) and self.deepspeed.zero_stage == 3:
            raise ValueError(
                f"constraint.type ({self.constraint.type}) needs whole weights on every rank: "
                "set deepspeed.zero_stage to 0, 1 or 2"
            )
        if isinstance(self.tuning, QLoraTuning) and self.deepspeed.zero_stage == 3:
            raise ValueError("deepspeed.zero_stage (3) cannot shard the 4-bit weights of tuning qlora: use 0, 1 or 2")
        if isinstance(self.tuning, AdapterTuning) and self.tuning.use_dora and self.deepspeed.zero_stage == 3:
            raise ValueError(
                "tuning.use_dora (true) needs whole weights on every rank: set deepspeed.zero_stage to 0, 1 or 2"
            )
        if self.ema_decay is not None and self.deepspeed.zero_stage == 3:
            raise ValueError(
                f"ema_decay ({self.ema_decay:g}) averages weights that are whole on every rank: set "
                "deepspeed.zero_stage to 0, 1 or 2, or leave it out"
            )
        if self.safety_count is not None and self.safety_share > 0:
            raise ValueError(
                f"safety_count ({self.safety_count}) and safety_share ({self.safety_share:g}) exclude each other: "
                "keep the one you mean"
            )
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) is not a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self
