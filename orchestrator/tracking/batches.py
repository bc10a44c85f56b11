"""Points, parameters and tags into runs of MLflow, each once however often it is told."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.tracking.front_table import stable_text
from orchestrator.tracking.index import STATUS, RunIndex, milliseconds
from orchestrator.tracking.writes import End, write_batch


class Point(NamedTuple):
    """A value of a metric."""

    name: str
    value: float
    step: int
    at: float
    """When it was measured, in seconds since the epoch."""


class Batches:
    """Writes batches to runs; points that a run holds already are left out.

    Args:
        index: the experiment's runs.
    """

    def __init__(self, index: RunIndex) -> None:
        self._index = index
        self._points: dict[str, dict[str, set[int]]] = {}  # run -> metric -> steps

    def log(
        self,
        run: str,
        points: Iterable[Point] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        again: bool = False,
        end: End | None = None,
    ) -> None:
        """One batch, or as few as MLflow's limits allow: tags come last, so that they tell that all is there.

        Args:
            run: its id.
            points: those that are no numbers are left out; of several of one step the first counts.
            params: parameters.
            tags: only those that the run has not got yet are written.
            again: write steps that the run holds, too, unless it holds this very value as its latest.
            end: how the run ends, where it does.
        """
        from mlflow.entities import Metric, Param, RunTag

        first: dict[tuple[str, int], Point] = {}
        for point in points:
            if math.isfinite(point.value):
                first.setdefault((point.name, point.step), point)  # a history repeats what was reported
        found = self._index.held.get(run)
        if again:
            latest = found.metrics if found is not None else {}
            new = [point for point in first.values() if latest.get(point.name) != point.value]
        else:
            new = [point for point in first.values() if point.step not in self._steps(run, point.name)]
        known = found.tags if found is not None else {}
        entries = [Metric(name, float(value), milliseconds(at), step) for name, value, step, at in new]
        values = [Param(path, stable_text(value)) for path, value in (params or {}).items()]
        marks = [RunTag(key, value) for key, value in (tags or {}).items() if known.get(key) != value]
        if entries or values or marks or end is not None:
            write_batch(self._index.client, run, entries, values, marks, end)
        if found is not None:
            found.tags.update(tags or {})
            found.metrics.update({point.name: point.value for point in new})
        if tags and STATUS in tags:
            self._index.told[run] = tags[STATUS]
        for point in new:
            if (steps := self._points.get(run, {}).get(point.name)) is not None:
                steps.add(point.step)

    def held(self, run: str) -> set[int]:
        """Steps of which this process knows that the run holds something."""
        return {step for steps in self._points.get(run, {}).values() for step in steps}

    def forget(self, run: str) -> None:
        """The run has ended: should it ever be opened again, the store knows."""
        self._points.pop(run, None)

    def _steps(self, run: str, metric: str) -> set[int]:
        """Steps of ``metric`` that the run holds; asked of the store only where an earlier process wrote some."""
        held = self._points.setdefault(run, {})
        if metric not in held:
            found = self._index.held.get(run)
            new = run in self._index.created or (found is not None and metric not in found.metrics)
            known = [] if new else self._index.client.get_metric_history(run, metric)
            held[metric] = {point.step for point in known}
        return held[metric]
