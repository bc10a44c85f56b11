"""What ``front.json`` says of judges beside people who labelled answers (pure)."""

from collections.abc import Mapping

from orchestrator.front.schema.values import Number, Omitted, Part

Cells = tuple[Number, Number]


class CorrectedRate(Part):
    """How many attacks succeed by a judge, and what labels of some of the answers make of that."""

    raw: Number
    """By the verdicts alone."""
    value: Number
    """Corrected by prediction-powered inference: what people would say of all the answers."""
    low: Number
    """Lower end of its 95 % interval over prompts."""
    high: Number
    """Upper end of its 95 % interval over prompts."""
    power: Number
    """Weight of the verdicts: 0 rests on the labels alone."""
    labels: int
    """Labelled answers on which the judge gave a verdict."""
    prompts: int
    """Distinct prompts of these."""


class LabelledJudge(Part):
    """One judge beside people, on the answers to harmful report prompts that they labelled."""

    confusion: tuple[Cells, Cells]
    """Labelled answers, rows by what people say, columns by the judge: first that it did not do what was asked, then
    that it did. An answer that people disagree on counts in both rows, by its share."""
    kappa: Number | None
    """Cohen's, as if all answers were labelled; null where chance alone agrees fully."""
    together: CorrectedRate
    """Of all references and trials of which answers are labelled."""
    entries: Mapping[str, CorrectedRate]
    """By a reference's label or a trial's id, of those with enough labels of their own."""


class Agreement(Part):
    """How far two people agree."""

    labellers: tuple[str, str]
    """Who."""
    kappa: Number | None
    """Cohen's; null where chance alone agrees fully."""
    answers: int
    """That both labelled, neither being unsure."""


class Labels(Part):
    """What people said of the answers of one model."""

    labels: int
    """Answers that somebody labelled and was sure of."""
    unsure: int
    """Answers of which everybody who saw them was unsure."""
    needed: int
    """Labels from which on judges are corrected."""
    labellers: Mapping[str, int]
    """Answers that each person labelled and was sure of."""
    agreements: tuple[Agreement, ...]
    """Of every two people who labelled answers in common."""
    entries: Mapping[str, int]
    """Labels by a reference's label or a trial's id."""
    judges: Omitted[Mapping[str, LabelledJudge]] = None
    """By judge; only with enough labels."""

    @property
    def missing(self) -> int:
        """How many labels more are needed."""
        return max(0, self.needed - self.labels)
