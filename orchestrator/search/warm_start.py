"""What earlier trials teach a search: values where they hold, otherwise settings worth a try."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import OutputError
from orchestrator.front.membership import front
from orchestrator.record.fingerprints import data_hashes, judge_hashes, model_hash
from orchestrator.record.folder import JOURNAL
from orchestrator.record.journal import read_state
from orchestrator.record.plugins import versions_of_plugins
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.record.versions import versions
from orchestrator.search.objective_values import objective_values
from orchestrator.search.value_identity import Measured, differences, settings_identity
from sweeps.schema.arms import CONSTRAINT
from sweeps.schema.spec import SweepSpec
from sweeps.space.conditions import value_at
from sweeps.space.layer_ranges import LayerRange, carry_over
from sweeps.space.space import SearchSpace
from training.config import ModelConfig, TrialConfig
from training.errors import TrainingError
from training.models.depth import depth_of
from training.models.template_date import prints_date

FIRST_PROPOSALS = 4
"""Settings of other models' front trials that a model tries before it searches by itself."""
NAMED = 4
"""Fields in which an earlier sweep differs that are told, at most."""


@dataclass(frozen=True)
class EarlierSearch:
    """The finished trials of one model in an earlier sweep."""

    directory: str
    model: ModelConfig
    measured: tuple[Measured, ...]
    """What its values depend on besides the trials' settings, as recorded then: of every session that ran trials."""
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


NOTHING = WarmStart((), (), "")
"""Where no earlier sweep is named."""


def read_earlier(directories: Sequence[str]) -> list[EarlierSearch]:
    """The finished trials in the journals of ``directories``, by sweep and model.

    Raises:
        OutputError: a folder holds no sweep, or one of another version.
    """
    found = []
    for directory in directories:
        state = read_state(Path(directory) / JOURNAL)
        if state.spec is None:
            raise OutputError(f"searcher.warm_start ({directory}) does not say what it searched: remove it")
        searched = [r for r in state.records() if r.kind == "trial" and r.arm == CONSTRAINT]
        finished = [r for r in searched if r.status is Status.FINISHED]
        for dumped in state.spec["models"]:
            try:
                model = ModelConfig.model_validate(dumped)
            except ValidationError as error:
                raise OutputError(f"searcher.warm_start ({directory}) is of another version: remove it") from error
            own = tuple(record for record in finished if record.model == model.name)
            measured = tuple(Measured.of(then, model.name, manifest) for then, manifest in state.ran_under)
            found.append(EarlierSearch(directory, model, measured, own))
    return found


def warm_start(
    spec: SweepSpec,
    model: ModelConfig,
    space: SearchSpace,
    earlier: Sequence[EarlierSearch],
    day: str | None = None,
) -> WarmStart:
    """What ``earlier`` teaches the search of ``model`` in a sweep whose prompts are of ``day`` (ISO), which is today.

    A trial's values hold where all is the same that could have changed them and is not searched
    (:mod:`orchestrator.search.value_identity`). Of the other trials only the settings of those on a front carry over,
    with layers at the same fraction of the depth.
    """
    if not earlier:  # nor are the data's files read for their hashes
        return NOTHING
    told: list[TrialRecord] = []
    settings: list[dict[str, Any]] = []
    apart: dict[str, list[str]] = {}
    left = 0
    here = _measured_here(spec, model, day or date.today().isoformat())
    for search in earlier:
        theirs = [replace(one, dated=here.dated) for one in search.measured]
        differing = sorted({name for one in theirs for name in differences(here.identity, one.identity)})
        verdicts = [(record, differing or _differing_settings(spec, space, record)) for record in search.trials]
        told += [record for record, found in verdicts if found == []]
        others = [record for record, found in verdicts if found != []]
        for _, found in verdicts:
            apart.setdefault(search.directory, []).extend(found or ())
        chosen = front(spec.objectives, spec.feasible, others)
        carried = settings_of(chosen, space, lambda model=search.model: _depth_if_there(model))  # type: ignore[misc]
        settings += carried
        left += len(others) - len(carried)
    first = spread(settings, FIRST_PROPOSALS)
    left += len(settings) - len(first)
    said = (
        f"warm start of {model.name}: {_trials(len(told))} learnt from, the settings of {_trials(len(first))} tried "
        f"first, {_trials(left)} left out (off the front of other settings or another model, or outside the ranges)"
    )
    reasons = [_told_apart(directory, names) for directory, names in apart.items() if names]
    return WarmStart(tuple(told), tuple(first), "; ".join([said, *reasons]))


def _told_apart(directory: str, names: Sequence[str]) -> str:
    """Why values of the sweep in ``directory`` are not taken for values of this one."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
    return f"values of {directory} do not hold where these differ: {', '.join(distinct[:NAMED])}{more}"


def settings_of(
    trials: Sequence[TrialRecord], space: SearchSpace, depth: Callable[[], int | None]
) -> list[dict[str, Any]]:
    """The settings of ``trials`` as values of ``space``; those outside it are left out.

    Args:
        trials: of a model with ``depth()`` decoder layers; called only where layers are searched.
        space: of the model that shall try them.
        depth: None where it cannot be known.
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
    """Decoder layers of ``model``; None where it is no longer there."""
    try:
        return depth_of(model)
    except TrainingError:
        return None


def _measured_here(spec: SweepSpec, model: ModelConfig, day: str) -> Measured:
    manifest = {
        "date": day,
        "versions": versions(),
        "plugins": versions_of_plugins(spec),
        "models": {model.name: model_hash(model, spec.data)},
        "judges": judge_hashes(spec.evaluation),
        "data": data_hashes(spec.data),
    }
    return replace(Measured.of(spec.model_dump(mode="json"), model.name, manifest), dated=prints_date(model))


def _differing_settings(spec: SweepSpec, space: SearchSpace, record: TrialRecord) -> list[str] | None:
    """The settings by which a value of ``record`` is none of this search's; None where it is outside its space."""
    if objective_values(spec.objectives, record) is None:
        return None
    values = values_at(record, space)
    try:
        drawn = space.decode(space.encode(values))
        here = spec.trial_config({path: values[path] for path in drawn})
        there = TrialConfig.model_validate(record.trial)
    except ValueError:
        return None
    return differences(settings_identity(here), settings_identity(there))


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
