"""What a sweep leaves for people and scripts: front.json, trials.parquet, front.html, front.png, course.png."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.front.front_file import FRONT, write_front
from orchestrator.front.schema.comparison import ModelComparison
from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.entry import TrialEntry
from orchestrator.record.answers import AnswerFolder
from orchestrator.record.atomic import write_with
from orchestrator.record.folder import ANSWERS, write_json
from orchestrator.record.trials import TrialRecord
from orchestrator.report.plots.data import plot_data


@dataclass(frozen=True)
class ReportFiles:
    """Where the report lies."""

    front_json: Path
    trials_parquet: Path
    front_html: Path
    front_png: Path
    course_png: Path | None = None
    """Only where a training was measured on its way."""
    answers_html: Path | None = None
    """Only where texts of answers were kept; never in MLflow."""
    compared: tuple[Path, ...] = ()
    """Page, picture and document of the models side by side, where there are several that can be compared."""


def write_report(
    directory: Path,
    name: str,
    front: FrontDocument,
    records: Iterable[TrialRecord],
    manifest: Mapping[str, Any] | None = None,
) -> ReportFiles:
    """Write the report of the sweep ``name`` into ``directory``; each file is replaced at once or not at all.

    Args:
        directory: the sweep's output folder; made where it is missing.
        name: the sweep's name, for headings.
        front: of ``build_front``.
        records: all trials and references; the references are left out of ``trials.parquet``.
        manifest: what the sweep ran with, which the page ends with; None leaves that out.
    """
    from orchestrator.report.answers_page import write_answers_html
    from orchestrator.report.page import write_html
    from orchestrator.report.plots.course import write_course
    from orchestrator.report.plots.picture import write_picture

    directory.mkdir(parents=True, exist_ok=True)
    known = list(records)
    files = ReportFiles(
        directory / FRONT, directory / "trials.parquet", directory / "front.html", directory / "front.png"
    )
    write_front(files.front_json, front)
    write_with(files.trials_parquet, lambda path: write_trials(path, front, known))
    data = plot_data(name, front)
    answers = write_answers_html(directory, name, front)
    files = replace(files, answers_html=answers)
    verdicts = AnswerFolder(directory / ANSWERS)
    write_html(data, front, files.front_html, answers.name if answers else None, manifest, known, verdicts)
    write_with(files.front_png, lambda path: write_picture(data, path))
    if front.comparison is not None and front.comparison.normalised is not None:
        files = replace(files, compared=write_comparison_files(front.comparison.normalised, directory))
    if not any(panel.course for panel in data.panels):
        return files
    course = directory / "course.png"
    write_with(course, lambda path: write_course(data, path))
    return replace(files, course_png=course)


def write_comparison_files(found: ModelComparison, folder: Path) -> tuple[Path, ...]:
    """Write ``comparison.html``, ``.png`` and ``.json`` into ``folder``, and return where they lie."""
    from orchestrator.report.page import write_comparison_html
    from orchestrator.report.plots.compared import write_comparison_picture

    page, picture, document = (folder / f"comparison.{ending}" for ending in ("html", "png", "json"))
    write_comparison_html(found, page)
    write_with(picture, lambda path: write_comparison_picture(found, path))
    write_json(document, found.as_json())
    return page, picture, document


def write_trials(path: Path, front: FrontDocument, records: Iterable[TrialRecord]) -> None:
    """One row per searched trial and scaled model, as ``front.json`` has it, in the order of ``records``.

    Columns: id, model, status, error, ``params.*``, every metric on the report prompts with ``_low``/``_high`` of
    rates, every metric on the select prompts as ``select.*``, replicates, on_front, p_on_front and feasible by the
    select prompts, on_report.feasible and on_report.behind by the others. A parameter whose trials hold different types
    (20 and ``all``) becomes text, since a Parquet column has one type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    listed = {trial.id: (model, trial) for model, body in front.models.items() for trial in body.trials}
    rows = [_row(*listed[record.id]) for record in records if record.id in listed]
    names = list(dict.fromkeys(name for row in rows for name in row))
    fixed = {"id": pa.string(), "model": pa.string(), "status": pa.string(), "error": pa.string()}
    columns = {name: [row.get(name) for row in rows] for name in [*fixed, *(n for n in names if n not in fixed)]}
    arrays = {
        name: pa.array(values, type=fixed[name]) if name in fixed else _array(values)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path)


def trials_csv(fronts: Mapping[str, FrontDocument]) -> str:
    """The rows of :func:`write_trials` of one or several sweeps as CSV, the folder of each in the first column."""
    rows = [
        {"sweep": directory, **_row(model, trial)}
        for directory, front in fronts.items()
        for model, body in front.models.items()
        for trial in body.trials
    ]
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _row(model: str, trial: TrialEntry) -> dict[str, Any]:
    row: dict[str, Any] = {"id": trial.id, "model": model, "status": str(trial.status), "error": trial.error}
    row |= {f"params.{path}": value for path, value in trial.params.items()}
    for metric, value in trial.metrics.items():
        row[metric] = None if value is None else float(value)
        if metric in trial.intervals:
            row[f"{metric}_low"], row[f"{metric}_high"] = trial.intervals[metric]
    row |= {f"select.{metric}": value for metric, value in trial.select.metrics.items()}
    row |= {"replicates": trial.replicates, "on_front": trial.on_front}
    row |= {"p_on_front": trial.p_on_front, "membership": trial.membership, "feasible": trial.feasible}
    told = trial.on_report
    return row | {
        "on_report.feasible": told.feasible if told else None,
        "on_report.behind": ", ".join(told.behind) if told else "",
    }


def _array(values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1 or kinds & {list, dict}:
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(values)
