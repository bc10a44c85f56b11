"""The answers of a sweep that people may label: found in its folder, with their texts."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import OutputError
from orchestrator.front.labelling import Row, decider, in_order, judged_answers, questions
from orchestrator.front.membership import standings
from orchestrator.front.pooling import Pooled
from orchestrator.front.recorded_sweep import RecordedSweep
from orchestrator.record.answers import Wanted, read_answers
from orchestrator.record.labels import FILE, WORDS, Item, Label, read_labels
from orchestrator.record.trial_ids import whole_id
from training.config.judges import Asks


@dataclass(frozen=True)
class Labelling:
    """What there is to label in a sweep."""

    directory: Path
    rows: Mapping[Item, Row]
    """Every answer that the rates of judges are of, with its prompt and answer where texts were kept."""
    order: Sequence[Item]
    """Those that people are asked about, in this order."""
    asked: Asks
    """What the judge that decides is asked."""
    models: int
    """Of how many models these are answers."""

    @property
    def words(self) -> tuple[str, str]:
        """What to call an answer that does what was asked, and any other."""
        return WORDS[self.asked]

    @property
    def labels(self) -> list[Label]:
        """All labels that were given so far.

        Raises:
            OutputError: the file is damaged, or of another sweep.
        """
        found = read_labels(self.directory)
        if found and not any(label.item in self.rows for label in found):
            raise OutputError(
                f"{self.directory / FILE} holds labels of another sweep: none of its {len(found)} is of an answer "
                "here; put it back into that sweep's folder"
            )
        return found


def find_items(directory: Path, trials: Sequence[str], seed: int) -> Labelling:
    """What there is to label in ``directory``: of references and front, or of ``trials``.

    Args:
        directory: a sweep's output folder.
        trials: ids of trials or references, or their endings; none takes the references and the front of every model.
        seed: of the order.

    Raises:
        OutputError: there is no sweep, no such trial, no answers or no judge's verdicts, or their texts were not kept.
    """
    sweep = RecordedSweep.read(directory)
    measured = {
        pooled.record.id: pooled
        for model in sweep.models.values()
        for pooled in (*model.references.values(), *model.trials)
    }
    if trials:
        chosen = [
            whole_id(trial, list(measured), f"is not among the finished trials of {directory}") for trial in trials
        ]
    else:
        goals, rules = sweep.spec.objectives, sweep.spec.feasible
        members = {
            one.record.id
            for model in sweep.models.values()
            for one in standings(goals, rules, model.records)
            if one.on_front
        }
        chosen = [trial for trial, found in measured.items() if found.record.kind == "reference" or trial in members]
    known = [trial for trial in dict.fromkeys(chosen) if _left_answers(sweep, measured[trial])]
    if not known:
        raise OutputError(
            f"directory ({directory}) holds no answers of {_named(chosen)}: give the folder of a sweep with a measured "
            "trial"
        )
    rows = {
        item: row
        for pooled in measured.values()
        for item, row in _judged(sweep, pooled, texts=pooled.record.id in known).items()
    }
    asked = [{i: row for i, row in rows.items() if i.trial in _ids(measured[trial])} for trial in known]
    asks = questions([next(iter(found.values())) for found in asked if found])
    judge = decider(asks)
    if judge is None:
        raise OutputError(
            f"directory ({directory}) holds no harmful report prompt that a judge was asked about, or was measured by "
            "an older version of procon: procon reproduce --answers measures a trial anew"
        )
    order = [item for item in in_order(dict(zip(known, asked, strict=True)), seed) if _has_text(rows[item])]
    if not order and not any(map(_has_text, rows.values())):
        where = shlex.quote(str(directory))
        raise OutputError(
            f"directory ({directory}) holds no texts of answers, which evaluation.keep_answers: true would have kept: "
            f"procon reproduce {where} --trial {known[0]} --answers measures one trial anew and keeps them"
        )
    return Labelling(directory, rows, order, asks[judge], len({measured[trial].record.model for trial in known}))


def _ids(pooled: Pooled) -> set[str]:
    return {seed.id for seed in pooled.seeds}


def _left_answers(sweep: RecordedSweep, pooled: Pooled) -> bool:
    return any(seed.id in sweep.answers for seed in pooled.seeds)


def _judged(sweep: RecordedSweep, pooled: Pooled, *, texts: bool) -> dict[Item, Row]:
    found: dict[Item, Row] = {}
    for seed in pooled.seeds:
        if seed.id in sweep.answers:
            rows = read_answers(sweep.directory, seed.id, Wanted()) if texts else sweep.answers.get(seed.id, [])
            found |= judged_answers(seed.id, rows)
    return found


def _has_text(row: Row) -> bool:
    return row.get("prompt") is not None and row.get("answer") is not None


def _named(trials: Sequence[str]) -> str:
    return ", ".join(trials[:3]) + (f" and {len(trials) - 3} more" if len(trials) > 3 else "") or "any trial"
