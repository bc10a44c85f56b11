"""The card of an exported model: what it was trained from, what was measured on it, and what that does not say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.front.schema.entry import Entry
from orchestrator.record.fingerprints import paths_of
from orchestrator.record.recorded_trial import RecordedTrial
from orchestrator.record.trials import TrialRecord
from orchestrator.report.shown import REFERENCE_NAMES
from sweeps.statistics.intervals import wilson_interval
from training.config import Source
from training.evaluation.scores import Scores

if TYPE_CHECKING:
    from training.loop.export import Form

NOTHING = 1e-6
"""Below it a measured number is what rounding leaves of nothing."""
THREAT_MODEL = (
    "The constraint counters drift of the refusal behaviour in benign fine-tuning: training data of ordinary tasks "
    "that weakens refusals as a side effect. It is no protection against somebody who holds the weights: ten steps of "
    "fine-tuning, or an ablation of the refusal direction, can remove the behaviour. The rates below are of the "
    "prompts that the sweep measured on; attacks that it did not measure were not tried."
)


def model_card(
    chosen: RecordedTrial,
    form: "Form",
    entry: Entry | None,
    references: Mapping[str, TrialRecord],
) -> str:
    """Markdown with a YAML header, as the Hugging Face Hub reads it; of local files it holds names and hashes only.

    Args:
        chosen: the trial.
        form: whether the folder holds adapters or a whole model.
        entry: the trial's entry in the front, whose values are pooled over replicates; None where there is none.
        references: measured references of the same model, by label.
    """
    record, spec = chosen.record, chosen.spec
    assert chosen.trial is not None
    base = _named(chosen.model.path)
    header = {
        "base_model": base,
        "library_name": "peft" if form == "adapter" else "transformers",
        "tags": ["procon-sweeps", chosen.trial.constraint.type, chosen.trial.tuning.type],
    }
    fingerprint = chosen.manifest.get("models", {}).get(chosen.model.name)
    return "\n".join(
        [
            "---",
            yaml.safe_dump(header, sort_keys=False).strip(),
            "---",
            "",
            f"# {record.id} of the sweep {spec.name}",
            "",
            f"`{base}`{f' (hash {fingerprint})' if fingerprint else ''}, fine-tuned by procon-sweeps "
            f"({chosen.trial.tuning.type} tuning, constraint {chosen.trial.constraint.type}, "
            f"{chosen.trial.total_steps} steps){_scaled(record)}. The folder holds "
            + (
                "the adapters only; load them with PEFT on the model above."
                if form == "adapter"
                else "the whole model."
            ),
            "",
            "## Threat model",
            "",
            THREAT_MODEL,
            "",
            "## Measurements",
            "",
            *_measurements(chosen, entry, references),
            "",
            "## Settings",
            "",
            "```yaml",
            yaml.safe_dump(chosen.trial.model_dump(mode="json"), sort_keys=False).strip(),
            "```",
            "",
            "Data, by SHA-256 where they were local files:",
            "",
            *(f"- {name}: {_source(source, chosen.manifest)}" for name, source in spec.data.sources.items()),
            "",
            "Versions: "
            + ", ".join(f"{name} {value}" for name, value in chosen.manifest.get("versions", {}).items() if value),
            "",
        ]
    )


def _scaled(record: TrialRecord) -> str:
    if record.scaled_of is None:
        return ""
    return f", and moved to {record.scale:g} times the way from there to the weights of {record.scaled_of}"


def _measurements(chosen: RecordedTrial, entry: Entry | None, references: Mapping[str, TrialRecord]) -> list[str]:
    """Whose numbers these are, and every metric of the exported weights beside what they are to be compared with."""
    record, seeds = chosen.record, entry.replicates if entry is not None else 1
    columns = {f"these weights (seed {record.seed})": _own(record.report)}
    said = "On held-out prompts that the search never saw; brackets are 95 % intervals."
    if entry is not None and seeds > 1:
        columns[f"these settings, pooled over {seeds} seeds"] = _Column(entry.metrics, entry.intervals)
        said += (
            f" The settings were trained under {seeds} seeds: the weights here are those of seed {record.seed}, and "
            "the pooled column says what to expect of another."
        )
    columns |= {REFERENCE_NAMES.get(label, label): _own(one.report) for label, one in references.items()}
    wanted = [objective.metric for objective in chosen.spec.objectives]
    wanted += [rule.metric for rule in chosen.spec.feasible]
    names = list(dict.fromkeys([*(name for name in wanted if name in record.report.metrics), *record.report.metrics]))
    lines = [said, "", f"| metric | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for name in names:
        if not name.startswith(("train/", "evaluation/")):
            lines.append(f"| {name} | {' | '.join(column.cell(name) for column in columns.values())} |")
    return lines


@dataclass(frozen=True)
class _Column:
    """What one model scored."""

    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Sequence[float]]

    def cell(self, name: str) -> str:
        value, interval = self.metrics.get(name), self.intervals.get(name)
        if value is None or not math.isfinite(value):
            return ""
        return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else number(value)


def _own(scores: Scores) -> _Column:
    return _Column(scores.metrics, {name: wilson_interval(*count) for name, count in scores.counts.items()})


def number(value: float) -> str:
    """A number for people: three digits that say something, and no traces of rounding where it is nothing."""
    if abs(value) < NOTHING:
        return "0.00"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _source(source: Source, manifest: Mapping[str, Any]) -> str:
    """A source's files by name, with what tells their contents."""
    hashes: Mapping[str, str] = manifest.get("data", {})
    return ", ".join(f"`{_named(path)}`" + (f" {hashes[path]}" if path in hashes else "") for path in paths_of(source))


def _named(path: str) -> str:
    """A Hub id or an embedded set as it is; of what lies on this machine, the name alone."""
    return Path(path).name if path.startswith(("/", "~", ".")) or Path(path).exists() else path
