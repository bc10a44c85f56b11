"""How a batch gets into a run: by MLflow's client, or into its SQLite tables with one transaction.

The client needs four transactions for a batch and one for the end of a run, and an object for each value: for a trial
of a sweep some 60 ms, where one transaction takes 5. MLflow's tables are no public interface: in other versions than
were tried, and for every other store, its client writes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

TRIED = ("3.17",)
"""Versions of MLflow whose tables are known."""
MAX_METRICS, MAX_PARAMS = 1000, 100
"""The client's limits on one batch."""


class End(NamedTuple):
    """How a run ends."""

    status: str
    """As MLflow calls it."""
    at: int
    """In milliseconds since the epoch."""


class Write(Protocol):
    """Writes metrics, parameters and tags to a run, and its end; the tags last."""

    def __call__(
        self,
        run: str,
        metrics: Sequence["Metric"],
        params: Sequence["Param"],
        tags: Sequence["RunTag"],
        end: End | None = None,
    ) -> None:
        """Write; may be repeated."""


def writer(client: "MlflowClient") -> Write:
    """The fastest that the store of ``client`` allows."""
    from mlflow import __version__
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    known = ".".join(__version__.split(".")[:2]) in TRIED
    if known and type(store) is SqlAlchemyStore and store.engine.dialect.name == "sqlite":
        return _Tables(store)
    return _Client(client)


class _Client:
    """As the client does it, within its limits."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def __call__(
        self,
        run: str,
        metrics: Sequence["Metric"],
        params: Sequence["Param"],
        tags: Sequence["RunTag"],
        end: End | None = None,
    ) -> None:
        if end is not None:  # with few metrics a run is ended in a third of the time
            self._client.set_terminated(run, *end)
        while metrics or params or tags:
            last = len(metrics) <= MAX_METRICS and len(params) <= MAX_PARAMS
            self._client.log_batch(run, metrics[:MAX_METRICS], params[:MAX_PARAMS], tags if last else [])
            metrics, params, tags = metrics[MAX_METRICS:], params[MAX_PARAMS:], [] if last else tags


class _Tables:
    """Into the tables of an SQLite store, checked by MLflow's own functions."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __call__(
        self,
        run: str,
        metrics: Sequence["Metric"],
        params: Sequence["Param"],
        tags: Sequence["RunTag"],
        end: End | None = None,
    ) -> None:
        from mlflow.store.tracking.dbmodels import models
        from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
        from mlflow.utils.validation import _validate_batch_log_data
        from sqlalchemy import update

        metrics, params, tags = _validate_batch_log_data(metrics, params, tags)  # type: ignore[no-untyped-call]
        changed: dict[str, Any] = {"status": end.status, "end_time": end.at} if end is not None else {}
        changed |= next(({"name": tag.value} for tag in tags if tag.key == MLFLOW_RUN_NAME), {})
        with self._store.ManagedSessionMaker(read_only=False) as session:
            _add_params(session, models.SqlParam, run, params)
            _add_metrics(session, models.SqlMetric, models.SqlLatestMetric, run, metrics)
            rows = {tag.key: {"run_uuid": run, "key": tag.key, "value": tag.value} for tag in tags}
            _insert(session, models.SqlTag, "REPLACE", list(rows.values()))
            if changed:
                session.execute(update(models.SqlRun).where(models.SqlRun.run_uuid == run).values(**changed))


def _insert(session: Any, table: Any, otherwise: str, rows: list[dict[str, Any]]) -> None:
    """Insert ``rows``; what is there already is left as it is (IGNORE) or replaced (REPLACE)."""
    from sqlalchemy import insert

    if rows:  # of the table and not of its class, whose rows would be made objects
        session.execute(insert(table.__table__).prefix_with(f"OR {otherwise}"), rows)


def _add_params(session: Any, table: Any, run: str, params: Sequence["Param"]) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
    from sqlalchemy import select

    if not params:
        return
    held = dict(session.execute(select(table.key, table.value).where(table.run_uuid == run)).all())
    for one in params:
        if held.setdefault(one.key, one.value) != one.value:
            raise MlflowException(
                f"Changing param values is not allowed: {one.key} of run {run} is {held[one.key]!r}, not {one.value!r}",
                INVALID_PARAMETER_VALUE,
            )
    _insert(session, table, "IGNORE", [{"run_uuid": run, "key": one.key, "value": one.value} for one in params])


def _add_metrics(session: Any, table: Any, latest: Any, run: str, metrics: Sequence["Metric"]) -> None:
    """The points, and of each metric the latest: of the last step, of those the last in time, then the largest."""
    from sqlalchemy import select

    rows = [
        {"run_uuid": run, "key": m.key, "value": m.value, "timestamp": m.timestamp, "step": m.step, "is_nan": False}
        for m in metrics
    ]
    if not rows:
        return
    _insert(session, table, "IGNORE", rows)
    columns = latest.key, latest.step, latest.timestamp, latest.value
    newest = {key: order for key, *order in session.execute(select(*columns).where(latest.run_uuid == run))}
    changed = {}
    for row in rows:
        order = [row["step"], row["timestamp"], row["value"]]
        if row["key"] not in newest or order > newest[row["key"]]:
            newest[row["key"]], changed[row["key"]] = order, row
    _insert(session, latest, "REPLACE", list(changed.values()))
