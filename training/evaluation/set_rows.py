"""Which rows of a source are measured on, and what answers are checked against; refused where that is nothing.

Imports neither torch nor transformers: a sweep is checked by the very rules that it will be measured by.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.config import EvaluationConfig, ExtractorConfig, Source
from training.data.check import held_out
from training.data.sources import split_table
from training.errors import DataError
from training.evaluation.answer_reading import expected
from training.evaluation.drawing import SPLITS, Split, draw

if TYPE_CHECKING:
    from training.evaluation.prompt_sets import Role

_FEW = 30
"""Below so many prompts an interval says little."""


@dataclass(frozen=True)
class DrawnRows:
    """The rows of one set."""

    rows: list[tuple[dict[str, Any], Split]]
    """With the view that each belongs to; their prompts are distinct."""
    warnings: list[str]
    """What a person should know of the set, a sentence each."""


def role_of(field: str) -> "Role":
    """What the source that the specification calls ``data.<field>`` measures."""
    return field.partition(".")[0].removesuffix("_sets")  # type: ignore[return-value]


def draw_rows(field: str, source: Source, config: EvaluationConfig) -> DrawnRows:
    """Rows with distinct prompts: an interval counts prompts, and a repeated one says nothing new.

    Args:
        field: the source is ``data.<field>`` in the specification.
        source: with absolute paths.
        config: how many are drawn, and how they are split.

    Raises:
        DataError: it cannot be read, or a view is left without prompts.
    """
    where, role = f"data.{field}", role_of(field)
    measured = held_out(source, field=where) if "." in field else source
    by_prompt: dict[str, dict[str, Any]] = {}
    for row in split_table(measured, "test", field=where).to_pylist():
        by_prompt.setdefault(row["prompt"], row)
    rows, share, count = list(by_prompt.values()), config.report_share, getattr(config, role)
    chosen = draw(rows, list(by_prompt), count=count, share=share, seed=config.seed)
    sizes = {view: sum(split == view for _, split in chosen) for view in (SPLITS if share > 0 else SPLITS[1:])}
    empty = next((view for view, size in sizes.items() if size == 0), None)
    if empty is not None:
        raise DataError(
            f"{where}: the {empty} view has no prompt, of {len(rows)} in the test split: add prompts, raise "
            f"evaluation.{role} ({count}), or measure on all with evaluation.report_share 0"
        )
    few = [f"{size} prompt{'s' * (size > 1)} to {view}" for view, size in sizes.items() if size < _FEW]
    warnings = []
    if few:
        warnings.append(
            f"{where} has {' and '.join(few)}, and below {_FEW} an interval is too wide to say much: add prompts, "
            f"or raise evaluation.{role} ({count})"
        )
    return DrawnRows(chosen, warnings)


def golds_of(
    where: str, name: str, rows: Sequence[dict[str, Any]], config: EvaluationConfig
) -> tuple[list[str | None], list[ExtractorConfig], list[str]]:
    """What the answers to task or capability rows are checked against.

    Golds come from ``answer``; a source without such a column is checked against its whole responses.

    Args:
        where: dotted name of the source, for errors.
        name: of the set.
        rows: as drawn.
        config: names the extractors.

    Returns:
        (gold of every row, extractor of every row, warnings).

    Raises:
        DataError: no row has a gold that can be read.
    """
    families = [row.get("family") or None for row in rows]
    named = config.extractors
    extractors = [named.get(family or name) or named.get(name) or config.extractor for family in families]
    column = "answer" if any("answer" in row for row in rows) else "response"
    golds: list[str | None] = [row.get(column) or None for row in rows]
    if not any(golds):
        if column == "answer":
            raise DataError(
                f"{where}: column answer is empty in every row measured on: fill it, or drop the column to check "
                "answers against the whole response"
            )
        raise DataError(f"{where}: neither answer nor response is there to check answers against: add one of them")
    readable = [
        gold if gold and expected(gold, extractor) is not None else None
        for gold, extractor in zip(golds, extractors, strict=True)
    ]
    if not any(readable):
        first = next(index for index, gold in enumerate(golds) if gold)
        raise DataError(
            f"{where}: extractor {extractors[first].type} finds nothing in the correct answers (such as "
            f"{str(golds[first])[:60]!r}): choose another under evaluation.extractor"
        )
    without = readable.count(None)
    warnings = []
    if without:
        warnings.append(
            f"{where}: {without} of {len(rows)} rows have no correct answer that can be read, and count in no accuracy"
        )
    return readable, extractors, warnings


def check_families(families: Collection[str | None], capabilities: Collection[str], config: EvaluationConfig) -> None:
    """Refuse metrics that two things would write, and extractors of what is not there.

    Args:
        families: of the task rows measured on.
        capabilities: names of the capability sets.
        config: names extractors.

    Raises:
        DataError: naming the family, set or extractor.
    """
    clash = next((name for name in sorted(capabilities) if name in families), None)
    if clash is not None:
        raise DataError(
            f"data.capability_sets.{clash}: data.task has a family of that name, and both would write "
            f"utility/accuracy/{clash}: call the set something else"
        )
    known = sorted({"task", *capabilities, *(family for family in families if family)})
    for name in config.extractors:
        if name not in known:
            raise DataError(
                f"evaluation.extractors.{name}: there is no such family or capability set (there are: "
                f"{', '.join(known)}); correct the name"
            )
