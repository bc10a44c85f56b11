"""The judges on the console: what each says, and how far they agree."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.report.plots.data import REFERENCE_NAMES, short_id
from orchestrator.report.tables import front_members

if TYPE_CHECKING:
    from rich.table import Table

KAPPA = "judges/kappa/"
JUDGED = "safety/judged/"
UNKNOWN = "safety/unknown/"


def judges_table(front: Mapping[str, Any], model: str) -> "Table | None":
    """One row per reference and front trial; none where a single judge spoke."""
    from rich.table import Table

    body = front["models"][model]
    entries = [(REFERENCE_NAMES.get(label, label), entry) for label, entry in body["reference"].items()]
    entries += [(short_id(trial["id"], model), trial) for trial in front_members(front, model)]
    names = list(dict.fromkeys(name for _, entry in entries for name in entry["metrics"]))
    judges = [name.removeprefix(JUDGED) for name in names if name.startswith(JUDGED)]
    kappas = [name for name in names if name.startswith(KAPPA)]
    if len(judges) < 2 and not kappas:
        return None
    caption = "Attack success by each judge, in brackets the share without a verdict; kappa 1 is full agreement."
    table = Table(title=f"Judges of {model}", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("", overflow="fold")
    for heading in (*judges, *(f"kappa {name.removeprefix(KAPPA).replace('/', ', ')}" for name in kappas)):
        table.add_column(heading, justify="right", overflow="fold")
    for who, entry in entries:
        metrics = entry["metrics"]
        verdicts = (_verdicts(metrics.get(JUDGED + judge), metrics.get(UNKNOWN + judge)) for judge in judges)
        agreement = ("-" if (value := metrics.get(name)) is None else f"{value:z.2f}" for name in kappas)
        table.add_row(who, *verdicts, *agreement)
    return table


def _verdicts(rate: float | None, unknown: float | None) -> str:
    shown = "-" if rate is None else f"{rate:.2f}"
    return f"{shown} [{unknown:.1%}]" if unknown else shown
