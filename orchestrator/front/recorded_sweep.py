"""A sweep read back from its folder, with every trial pooled over its seeds: for choices and comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrator.errors import OutputError
from orchestrator.front.pooling import Pooled, pool
from orchestrator.record.answers import AnswerFolder
from orchestrator.record.folder import ANSWERS, JOURNAL
from orchestrator.record.history import recorded_spec
from orchestrator.record.journal import read_state
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import TrialRecord
from sweeps.schema.spec import REFERENCES, SweepSpec


@dataclass(frozen=True)
class MeasuredModel:
    """What was measured of one model."""

    name: str
    records: tuple[TrialRecord, ...]
    """All of it, replicates too."""
    references: dict[str, Pooled]
    """Those that were measured, by label."""
    trials: tuple[Pooled, ...]
    """The searched trials that have finished, and their scaled models."""

    @classmethod
    def of(cls, name: str, records: Sequence[TrialRecord], pooled: Sequence[Pooled]) -> "MeasuredModel":
        """The model called ``name`` with all its ``records``, and these pooled over their seeds."""
        measured = {p.record.label: p for p in pooled if p.record.kind == "reference" and p.report.metrics}
        references = {label: measured[label] for label in REFERENCES if label in measured}
        trials = tuple(p for p in pooled if p.record.kind in ("trial", "scaled") and p.seeds)
        return cls(name, tuple(records), references, trials)

    @property
    def metrics(self) -> list[str]:
        """Everything that some trial measured, each once."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.report.metrics))


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep's folder."""

    directory: Path
    state: SweepState
    spec: SweepSpec
    answers: AnswerFolder

    @classmethod
    def read(cls, directory: Path) -> "RecordedSweep":
        """The sweep in ``directory``, so far where it has not ended.

        Raises:
            OutputError: there is none, or its journal is damaged.
        """
        state = read_state(directory / JOURNAL)
        return cls(directory, state, recorded_spec(state, directory), AnswerFolder(directory / ANSWERS))

    @cached_property
    def models(self) -> dict[str, MeasuredModel]:
        """By name, in the order of the specification; those of which nothing was recorded are left out."""
        everything = self.state.records()
        found = {}
        for model in self.spec.models:
            records = tuple(record for record in everything if record.model == model.name)
            if records:
                found[model.name] = MeasuredModel.of(model.name, records, pool(records, self.answers))
        return found

    def model(self, name: str | None) -> list[MeasuredModel]:
        """The model called ``name``; every one for None.

        Raises:
            OutputError: there is no such model.
        """
        if name is None:
            return list(self.models.values())
        if name not in self.models:
            raise OutputError(f"--model ({name}) is not in {self.directory}: there are {', '.join(self.models)}")
        return [self.models[name]]
