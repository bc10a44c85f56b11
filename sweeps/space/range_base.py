"""What all searched ranges have in common."""

from typing import Any

from pydantic import Field, field_validator

from sweeps.space.conditions import Condition
from training.config import Config


class RangeBase(Config):
    """A searched field."""

    when: dict[str, Any] = Field(default_factory=dict)
    """Other fields' values under which this one is drawn, by dotted path: a value, a list of values, or
    ``{not: value}``; left out, it always is."""

    @field_validator("when")
    @classmethod
    def _understood(cls, written: dict[str, Any]) -> dict[str, Any]:
        for path, condition in written.items():
            Condition.parse(path, condition)
        return written

    @property
    def conditions(self) -> list[Condition]:
        """All of ``when``."""
        return [Condition.parse(path, written) for path, written in self.when.items()]
