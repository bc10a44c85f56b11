"""What of a front is shown to people, and what it is called: metrics, references, settings, ids (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.front.schema.labels import Labels

REFERENCE_NAMES = {
    "base": "base model",
    "ift": "plain fine-tuning",
    "ift_safety": "fine-tuning + safety data",
}
"""What the references are called by their labels."""


def reference_name(label: str, names: Mapping[str, str] = REFERENCE_NAMES) -> str:
    """What people call a reference, scaled ones included: ``ift@0.5`` -> ``plain fine-tuning x 0.5``."""
    trained, _, scale = label.partition("@")
    name = names.get(trained, trained)
    return f"{name} x {scale}" if scale else name


SHOWN_BESIDES = (
    "safety/compliance_rate",
    "safety/over_refusal",
    "safety/harmless_refused",
    "safety/empty",
    "answers/truncated",
    "utility/coherence",
    "utility/loss",
)
"""Metrics of behaviour that tables show besides objectives and bounded metrics, where they were measured."""


def shown_metrics(front: FrontDocument, entries: Sequence[Entry]) -> list[str]:
    """Objectives first, then what the rules bound, then the other metrics of behaviour; parts of a rate stay out."""
    wanted = dict.fromkeys([*front.metrics, *front.bounded, *SHOWN_BESIDES])
    return [metric for metric in wanted if any(entry.metrics.get(metric) is not None for entry in entries)]


def named_entries(front: FrontDocument, model: str) -> list[tuple[str, Entry]]:
    """The references of ``model`` and its front, best first objective first, with what to call them."""
    references = [(REFERENCE_NAMES.get(label, label), one) for label, one in front.models[model].reference.items()]
    return [*references, *((trial.id, trial) for trial in front.members(model))]


def entry_key(front: FrontDocument, model: str, entry: Entry) -> str:
    """What tells ``entry`` from others where labels are counted: the label of a reference, or the id of a trial."""
    if isinstance(entry, TrialEntry):
        return entry.id
    return next(label for label, one in front.models[model].reference.items() if one is entry)


CONFUSED = ("no/no", "no/yes", "yes/no", "yes/yes")
"""Headings of what people and then a judge say: whether an answer does what was asked."""


def people_in_words(labels: Labels) -> list[str]:
    """How to read :data:`CONFUSED`, and how far people agree with each other."""
    said = ["Pairs: whether people, then the judge, say that an answer does what was asked."]
    for pair in labels.agreements:
        kappa = "no kappa" if pair.kappa is None else f"kappa {pair.kappa:z.2f}"
        said.append(f"{' and '.join(pair.labellers)}: {kappa} on {pair.answers} answers that both labelled.")
    return said


def short_params(params: Iterable[str]) -> dict[str, str]:
    """Dotted paths and the shortest endings that still tell them apart (``constraint.alpha`` -> ``alpha``)."""
    paths = list(dict.fromkeys(params))
    shortened: dict[str, str] = {}
    for path in paths:
        parts = path.split(".")
        endings = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
        shortened[path] = next(
            (e for e in endings if sum(p == e or p.endswith(f".{e}") for p in paths) == 1),
            path,
        )
    return shortened


def short_metric(metric: str) -> str:
    """A metric without the group it is in: ``safety/over_refusal`` -> ``over_refusal``."""
    return metric.partition("/")[2] or metric


def short_id(trial: str, model: str) -> str:
    """The id of a trial without its model's name, which the heading already gives."""
    rest = trial.removeprefix(model).lstrip("-_./")
    return rest or trial


def format_value(value: Any) -> str:
    """A parameter's value for people: three significant digits, no quotes."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
