"""How a batch gets into a run, within the limits of MLflow's client."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

MAX_METRICS, MAX_PARAMS = 1000, 100
"""The client's limits on one batch."""


class End(NamedTuple):
    """How a run ends."""

    status: str
    """As MLflow calls it."""
    at: int
    """In milliseconds since the epoch."""


def write_batch(
    client: "MlflowClient",
    run: str,
    metrics: Sequence["Metric"],
    params: Sequence["Param"],
    tags: Sequence["RunTag"],
    end: End | None = None,
) -> None:
    """Write metrics, parameters and tags to a run, and its end; the tags last. May be repeated."""
    if end is not None:  # with few metrics a run is ended in a third of the time
        client.set_terminated(run, *end)
    while metrics or params or tags:
        last = len(metrics) <= MAX_METRICS and len(params) <= MAX_PARAMS
        client.log_batch(run, metrics[:MAX_METRICS], params[:MAX_PARAMS], tags if last else [])
        metrics, params, tags = metrics[MAX_METRICS:], params[MAX_PARAMS:], [] if last else tags
