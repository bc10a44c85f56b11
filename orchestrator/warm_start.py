"""What earlier trials teach a search: values where they hold, otherwise settings worth a try."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import OutputError
from orchestrator.fingerprints import data_hashes, model_hash
from orchestrator.journal import read_journal, records
from orchestrator.membership import front
from orchestrator.output import JOURNAL
from orchestrator.records import Status, TrialRecord
from orchestrator.search_view import objective_values
from sweeps.conditions import value_at
from sweeps.layer_ranges import LayerRange, carry_over
from sweeps.space import SearchSpace
from sweeps.spec import SweepSpec
from training.config import ModelConfig, TrialConfig
from training.depth import depth_of
from training.errors import TrainingError

FIRST_PROPOSALS = 4
"""Settings of other models' front trials that a model tries before it searches by itself."""
WITHOUT_EFFECT = frozenset(
    ("seed", "log_every", "checkpoint_every", "micro_batch_size", "gradient_checkpointing", "packing", "deepspeed")
)
"""Settings of a trial under which its values are still those of the same trial."""


@dataclass(frozen=True)
class EarlierSearch:
    """The finished trials of one model in an earlier sweep."""

    directory: str
    model: ModelConfig
    data: Mapping[str, Any]
    """The dumped ``DataConfig``."""
    hashes: Mapping[str, Any]
    """Of its data files by path, under ``data``, and of its models by name, under ``models``, as recorded then."""
    trials: tuple[TrialRecord, ...]


@dataclass(frozen=True)
class WarmStart:
    """What earlier trials teach the search of one model."""

    told: tuple[TrialRecord, ...]
    """Trials whose values hold here."""
    settings: tuple[dict[str, Any], ...]
    """Settings by dotted path that are worth being tried first."""
    said: str
    """One sentence on what was taken and what was not; empty where there was nothing."""


def read_earlier(directories: Sequence[str]) -> list[EarlierSearch]:
    """The finished trials in the journals of ``directories``, by sweep and model.

    Raises:
        OutputError: a folder holds no sweep, or one of another version.
    """
    found = []
    for directory in directories:
        events = read_journal(Path(directory) / JOURNAL)
        specs = [event["spec"] for event in events if "spec" in event]
        if not specs:
            raise OutputError(f"searcher.warm_start ({directory}) does not say what it searched: remove it")
        hashes = [event["manifest"] for event in events if event.get("manifest")][-1:] or [{}]
        finished = [r for r in records(events) if r.kind == "trial" and r.status is Status.FINISHED]
        for dumped in specs[-1]["models"]:
            try:
                model = ModelConfig.model_validate(dumped)
            except ValidationError as error:
                raise OutputError(f"searcher.warm_start ({directory}) is of another version: remove it") from error
            own = tuple(record for record in finished if record.model == model.name)
            found.append(EarlierSearch(directory, model, specs[-1]["data"], hashes[0], own))
    return found


def warm_start(spec: SweepSpec, model: ModelConfig, space: SearchSpace, earlier: Sequence[EarlierSearch]) -> WarmStart:
    """What ``earlier`` teaches the search of ``model``.

    A trial's values hold where model, data and all settings that are not searched are the same. Files are the same
    by what is in them, wherever they are. Of the other trials only the settings of those on a front carry over, with
    layers at the same fraction of the depth.
    """
    if not earlier:  # nor are the data's files read for their hashes
        return WarmStart((), (), "")
    told: list[TrialRecord] = []
    settings: list[dict[str, Any]] = []
    left = 0
    here = _material(model, model_hash(model, spec.data), spec.data.model_dump(mode="json"), data_hashes(spec.data))
    for search in earlier:
        recorded = search.hashes.get("models", {}).get(search.model.name)
        same = here == _material(search.model, recorded, search.data, search.hashes.get("data", {}))
        holding = [record for record in search.trials if same and _holds_here(spec, space, record)]
        others = [record for record in search.trials if record not in holding]
        chosen = front(spec.objectives, spec.feasible, others)
        carried = settings_of(chosen, space, lambda model=search.model: _depth_if_there(model))  # type: ignore[misc]
        told += holding
        settings += carried
        left += len(others) - len(carried)
    first = spread(settings, FIRST_PROPOSALS)
    left += len(settings) - len(first)
    said = (
        f"warm start of {model.name}: {_trials(len(told))} learnt from, the settings of {_trials(len(first))} tried "
        f"first, {_trials(left)} left out (off the front of other settings or another model, or outside the ranges)"
    )
    return WarmStart(tuple(told), tuple(first), said)


def settings_of(
    trials: Sequence[TrialRecord], space: SearchSpace, depth: Callable[[], int | None]
) -> list[dict[str, Any]]:
    """The settings of ``trials`` as values of ``space``; those outside it are left out.

    Args:
        trials: of a model with ``depth()`` decoder layers; called only where layers are searched.
        space: of the model that shall try them.
        depth: none where it cannot be known.
    """
    found = []
    for record in trials:
        values = values_at(record, space)
        try:
            for path, searched in space.ranges.items():
                if isinstance(searched, LayerRange) and values.get(path, "all") != "all":
                    theirs = depth()
                    values[path] = carry_over(values[path], theirs, space.depth) if theirs else None
            found.append(space.decode(space.encode(values)))
        except (ValueError, AttributeError, TypeError):  # a value of another kind than the range has
            continue
    return [values for index, values in enumerate(found) if values not in found[:index]]


def values_at(record: TrialRecord, space: SearchSpace) -> dict[str, Any]:
    """What ``record`` ran with at each searched path: the value it searched, else the one it was given."""
    values = {}
    for path in space.ranges:
        try:
            values[path] = record.params[path] if path in record.params else value_at(record.trial or {}, path)
        except KeyError:
            continue
    return values


def spread(items: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """At most ``count`` of ``items``, evenly spaced, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(1, count - 1))] for index in range(count)]


def _depth_if_there(model: ModelConfig) -> int | None:
    """Decoder layers of ``model``; none where it is no longer there."""
    try:
        return depth_of(model)
    except TrainingError:
        return None


def _material(model: ModelConfig, known: str | None, data: Any, files: Mapping[str, str]) -> tuple[Any, ...]:
    """What trials are made of besides their settings: a file in ``data`` is its hash, a model without one its path."""
    chosen = model.model_dump(exclude={"name", "path"})
    return chosen, known or model.path, _by_content(data, files)


def _by_content(value: Any, files: Mapping[str, str]) -> Any:
    """``value`` with the hash of each file in place of its path."""
    if isinstance(value, Mapping):
        return {key: _by_content(one, files) for key, one in value.items()}
    if isinstance(value, list):
        return [_by_content(one, files) for one in value]
    return files.get(value, value) if isinstance(value, str) else value


def _holds_here(spec: SweepSpec, space: SearchSpace, record: TrialRecord) -> bool:
    if objective_values(spec.objectives, record) is None:
        return False
    values = values_at(record, space)
    try:
        drawn = space.decode(space.encode(values))
        here = spec.trial_config({path: values[path] for path in drawn})
        there = TrialConfig.model_validate(record.trial)
    except ValueError:
        return False
    return here.model_dump(exclude=set(WITHOUT_EFFECT)) == there.model_dump(exclude=set(WITHOUT_EFFECT))


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
