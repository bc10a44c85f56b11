"""What a slot is told when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from orchestrator.slots.shared_storage import Sight
from training.config import DataConfig, DirectionConfig, EvaluationConfig, TrialConfig
from training.storage.address import made_local_folder


@dataclass(frozen=True)
class SlotSetup:
    """What a slot is told when it starts; the same on every rank."""

    slot: int
    """Its index."""
    broker: str
    """Name of the broker actor."""
    namespace: str
    """The Ray namespace the broker lives in."""
    directory: Path
    """The sweep's output folder."""
    data: DataConfig
    """Sources with absolute paths."""
    direction: DirectionConfig
    """How the refusal direction is extracted."""
    evaluation: EvaluationConfig
    """How trials are measured."""
    like: TrialConfig
    """The trial in whose form (precision, 4 bits, shards) the untouched model is loaded and measured."""
    day: date
    """That the prompts are of, where a chat template prints the date."""
    silence: float = 60.0
    """Seconds after which a worker that gives no sign of life is held to be lost."""
    sight: Sight | None = None
    """What this machine has to see of the sweep's files; None where it is the driver's own."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of the driver's environment that hold secrets; none where workers inherit it."""
    address: str | None = None
    """Of the sweep's place in a bucket; None where ``directory`` is a folder that all machines see."""
    sizes: tuple[int, ...] = ()
    """How many workers a trial may have, ascending; none where that is always the same."""

    @property
    def workers(self) -> int | None:
        """How many a trial has unless nodes were lost; None where it never has fewer."""
        return self.sizes[-1] if self.sizes else None

    def here(self) -> "SlotSetup":
        """The same with this machine's own folder, where the sweep is in a bucket."""
        return self if self.address is None else replace(self, directory=made_local_folder(self.address))
