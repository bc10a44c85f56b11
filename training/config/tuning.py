"""Which weights are trained."""

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from training.config.base import Config


class AdapterTuning(Config):
    """Low-rank adapters through PEFT; the base weights stay frozen."""

    rank: PositiveInt = 8
    """Rank r of every adapter."""
    alpha: PositiveFloat = 16.0
    """Scaling numerator: an adapter is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Module names that get an adapter; ``all-linear`` is every linear layer but the output head."""
    use_rslora: bool = False
    """Scale an adapter by alpha / sqrt(rank) instead, which keeps its size as the rank grows (arXiv 2312.03732)."""
    use_dora: bool = False
    """Train the magnitude of every weight's rows apart from their direction (arXiv 2402.09353); slower, and not under
    ZeRO 3."""
    loraplus_lr_ratio: float | None = Field(default=None, ge=1)
    """Learning rate of the adapters' B matrices (and of DoRA's magnitudes) over that of their A matrices, which is
    ``learning_rate`` (LoRA+, arXiv 2402.12354, has 16 with about half the usual rate); None trains both alike."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came later are written where they are set: what is kept under a hash of this stays valid."""
        written: dict[str, Any] = dump(self)
        for name in ("use_rslora", "use_dora", "loraplus_lr_ratio"):
            if not written.get(name):
                written.pop(name, None)
        return written


class LoraTuning(AdapterTuning):
    """Adapters on a base model in the trial's precision."""

    type: Literal["lora"] = "lora"
    """Adapters."""


class QLoraTuning(AdapterTuning):
    """Adapters on a base model in 4 bits (nf4); needs a CUDA GPU and the extra ``qlora``."""

    type: Literal["qlora"] = "qlora"
    """Adapters on 4-bit weights."""


class FullTuning(Config):
    """Every weight is trained."""

    type: Literal["full"] = "full"
    """All weights."""
