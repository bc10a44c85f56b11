"""Metrics that other installed packages bring, declared in the entry point group ``procon.metrics``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedTokenizerBase

from training.config import load_plugin
from training.errors import MetricError
from training.evaluation.answers import Answer
from training.evaluation.drawing import Split
from training.evaluation.scores import Scores


@dataclass(frozen=True)
class Measured:
    """What such a metric may look at, once a trial is trained."""

    answers: Sequence[Answer]
    """The answers to the prompts of one half, with all verdicts."""
    split: Split
    """Which half: that of the report, or the one that the search may see."""
    model: nn.Module
    """What gave them; it must be left as it is. Where ZeRO 3 shards it, all ranks are asked the same."""
    tokenizer: PreTrainedTokenizerBase
    """Of the model."""


Metric = Callable[[Measured], Scores]
"""Scores of its own name and of parts, ``<its name>/<part>``: with counts for a rate, with errors for a mean."""


def load_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """The metrics of these names.

    Raises:
        MetricError: one cannot be imported.
    """
    found: dict[str, Metric] = {}
    for name in names:
        try:
            found[name] = load_plugin("procon.metrics", name)
        except ValueError as error:
            raise MetricError(f"evaluation.metrics: {error}") from error
    return found


def plugin_scores(metrics: Mapping[str, Metric], measured: Measured) -> Scores:
    """What all of ``metrics`` find in one half.

    Raises:
        MetricError: one reports under a name that is not its own.
    """
    scores = Scores()
    for name, metric in metrics.items():
        found = metric(measured)
        for other in (*found.metrics, *found.counts, *found.errors):
            if other != name and not other.startswith(f"{name}/"):
                raise MetricError(
                    f"evaluation.metrics ({name}) reports {other}, which is neither {name} nor a part of it "
                    f"({name}/…): rename it in that package"
                )
        rates = {rate: successes / total for rate, (successes, total) in found.counts.items()}
        scores = scores.joined(found).joined(Scores(rates))
    return scores
