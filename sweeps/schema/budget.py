"""What a sweep may spend, and whether it has spent it (pure)."""

from dataclasses import dataclass
from typing import Self

from pydantic import model_validator

from sweeps.schema.resources import ResourcesConfig
from training.config import Config


class BudgetConfig(Config):
    """Limits of a whole sweep, earlier sessions included; the first that is reached stops it cleanly."""

    hours: float | None = None
    """Hours that the sweep may run by the clock; None is no limit."""
    gpu_hours: float | None = None
    """GPU-hours that its slots may hold, busy or not; None is no limit. Needs ``resources.gpus_per_worker``."""
    money: float | None = None
    """What its slots may cost, in the currency of ``resources.price_per_hour``; None is no limit."""

    @model_validator(mode="after")
    def _something_to_spend(self) -> Self:
        for name in BudgetConfig.model_fields:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(
                    f"{name} ({value:g}) leaves nothing to spend: give a number above 0, or leave it out for no limit"
                )
        return self

    def check(self, resources: ResourcesConfig) -> None:
        """Refuse a limit that ``resources`` give no way to count.

        Raises:
            ValueError: money without a price, or GPU-hours without GPUs.
        """
        if self.money is not None and resources.price_per_hour is None:
            raise ValueError(
                f"budget.money ({self.money:g}) cannot be counted without a price: give resources.price_per_hour"
            )
        if self.gpu_hours is not None and not resources.gpus_per_worker:
            raise ValueError(
                f"budget.gpu_hours ({self.gpu_hours:g}) cannot be counted without GPUs: give "
                "resources.gpus_per_worker, or limit budget.hours instead"
            )


def slot_gpus(resources: ResourcesConfig) -> float:
    """GPUs that one slot holds."""
    return resources.workers * resources.gpus_per_worker


def slot_price(resources: ResourcesConfig) -> float | None:
    """What one slot costs for an hour; None where the spec names no price.

    ``price_per_hour`` is of one GPU where workers have GPUs (or parts of one), else of one worker.
    """
    if resources.price_per_hour is None:
        return None
    return resources.price_per_hour * (slot_gpus(resources) or resources.workers)


@dataclass(frozen=True)
class Spent:
    """What a sweep has used."""

    hours: float
    """By the clock."""
    gpu_hours: float
    """Held by its slots."""
    money: float | None
    """In the currency of the price; None where the spec names none."""


def spent(seconds: float, slot_seconds: float, resources: ResourcesConfig) -> Spent:
    """What a sweep of ``seconds`` seconds has used that held slots for ``slot_seconds`` seconds, added up over them."""
    held = slot_seconds / 3600
    price = slot_price(resources)
    return Spent(seconds / 3600, held * slot_gpus(resources), None if price is None else held * price)


@dataclass(frozen=True)
class Budget:
    """A sweep's limits, and how its use is counted."""

    config: BudgetConfig
    resources: ResourcesConfig

    def exceeded(self, seconds: float, slot_seconds: float) -> str | None:
        """Why the sweep has to stop; None while it may go on.

        Args:
            seconds: by the clock since the sweep started, earlier sessions included and pauses between them not.
            slot_seconds: that it held slots for, added up over them.
        """
        used = spent(seconds, slot_seconds, self.resources)
        for name, unit in (("hours", "hours"), ("gpu_hours", "GPU-hours"), ("money", "in the price's currency")):
            limit, value = getattr(self.config, name), getattr(used, name)
            if limit is not None and value is not None and value >= limit:
                return f"budget.{name} ({limit:g}) is spent: the sweep has used {value:.3g} {unit}"
        return None
