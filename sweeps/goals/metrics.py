"""Which metrics a trial provides, and what their names say of them."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from sweeps.errors import ObjectiveError
from training.config import DataConfig, EvaluationConfig, plugin_names

RATE_METRICS = (
    "safety/attack_success_rate",
    "safety/compliance_rate",
    "safety/over_refusal",
    "safety/harmless_refused",
    "safety/refusal_unlikely",
    "safety/empty",
    "safety/first_sentence/attack_success_rate",
    "safety/first_sentence/over_refusal",
    "utility/accuracy",
    "utility/coherence",
    "utility/forced_match",
    "answers/truncated",
    "answers/thought_only",
)
"""Shares between 0 and 1, with counts behind them."""
MEAN_ATTACK_SUCCESS = "safety/mean_attack_success_rate"
"""Attack success averaged over harmful sets and attacks, which all count the same."""
SCALAR_METRICS = (
    MEAN_ATTACK_SUCCESS,
    "safety/refusal_log_odds",
    "utility/loss",
    "train/loss",
    "train/penalty",
    "train/penalty_ratio",
    "train/tokens_per_second",
)
"""Every other metric whose name does not depend on the model or the data."""
LAYER_METRICS = ("direction/cosine", "direction/displacement")
"""Metrics with one value per decoder layer, named ``<metric>/layer_NN``."""
FAMILY_METRIC = "utility/accuracy"
"""Accuracy, for one task family or capability set too: a family is named by the ``family`` column of the task data."""
NAMED_RATES = (
    "safety/attack_success_rate",
    "safety/compliance_rate",
    "safety/over_refusal",
    "safety/judged",
    "safety/unknown",
    FAMILY_METRIC,
)
"""Rates that are also measured for one set, attack, judge or family, as ``<rate>/<name>``."""
AGREEMENT = "judges/kappa"
"""Cohen's kappa of two judges, as ``judges/kappa/<one>/<other>``."""
LM_EVAL_METRIC = "utility/lm_eval"
"""Score between 0 and 1 of a task of lm-evaluation-harness, as ``utility/lm_eval/<task>``: no rate, for it says no
counts."""

PLUGINS = "procon.metrics"
"""Entry points of the metrics that other packages bring. One of them may measure several: ``<its name>/<part>``."""

_NAMED_SCALAR = re.compile(rf"^(?:{AGREEMENT}/[^/]+/[^/]+|{LM_EVAL_METRIC}/[^/]+)$")
_LAYER = re.compile(r"^(direction/(?:cosine|displacement))/layer_(\d{2,})$")


def layer_metric(metric: str, layer: int) -> str:
    """The name of a per-layer metric: ``direction/cosine`` and 3 give ``direction/cosine/layer_03``."""
    return f"{metric}/layer_{layer:02d}"


def is_rate(metric: str) -> bool:
    """Whether ``metric`` is a share between 0 and 1 that successes and a total lie behind."""
    return metric in RATE_METRICS or _named_rate(metric) is not None


def is_share(metric: str) -> bool:
    """Whether ``metric`` lies between 0 and 1 and means the same as a rate: a rate, or the average of several."""
    return is_rate(metric) or metric == MEAN_ATTACK_SUCCESS


def _named_rate(metric: str) -> tuple[str, str] | None:
    """The rate that ``metric`` is of, and the name of the set, attack, judge or family it is measured for."""
    rate, _, name = metric.rpartition("/")
    if rate in NAMED_RATES and name:
        return rate, name
    # The family column of the data may hold anything, slashes too.
    rate, _, name = metric.partition(f"{FAMILY_METRIC}/")
    return (FAMILY_METRIC, name) if not rate and name else None


def names_of_rates(data: DataConfig, evaluation: EvaluationConfig) -> dict[str, list[str]]:
    """The names that each of :data:`NAMED_RATES`, :data:`LM_EVAL_METRIC` and :data:`PLUGINS` is measured for.

    Families are not among them: only the data knows those.
    """
    attacks = [attack.name for attack in evaluation.attacks]
    judges = [judge.name for judge in evaluation.judges]
    harmful, borderline = (
        [first, *more] if more else []
        for first, more in (("harmful", data.harmful_sets), ("borderline", data.borderline_sets))
    )
    return {
        "safety/attack_success_rate": [*harmful, *attacks],
        "safety/compliance_rate": [*harmful, *attacks],
        "safety/over_refusal": borderline,
        "safety/judged": judges,
        "safety/unknown": judges,
        LM_EVAL_METRIC: [] if evaluation.lm_eval is None else evaluation.lm_eval.tasks,
        PLUGINS: evaluation.metrics,
    }


def known_metric(name: str, depth: int | None = None) -> bool:
    """Whether some trial provides ``name``.

    Args:
        name: a metric.
        depth: decoder layers of the model; None accepts any layer index.
    """
    match = _LAYER.match(name)
    if match is None:
        return is_own(name) or plugin_of(name) is not None
    layer = int(match[2])
    return name == layer_metric(match[1], layer) and (depth is None or layer < depth)


def is_own(name: str) -> bool:
    """Whether ``name`` is a metric that needs no other package."""
    return bool(is_rate(name) or name in SCALAR_METRICS or _NAMED_SCALAR.match(name) or _LAYER.match(name))


def plugin_of(name: str) -> str | None:
    """The metric of another installed package that ``name`` is, or is a part of."""
    if is_own(name):
        return None
    return next((one for one in plugin_names("procon.metrics") if name == one or name.startswith(f"{one}/")), None)


def metric_names(depth: int, families: Iterable[str] = ()) -> list[str]:
    """Every metric a trial provides.

    Args:
        depth: decoder layers of the model.
        families: task families in the data, if any.
    """
    by_layer = [layer_metric(metric, layer) for metric in LAYER_METRICS for layer in range(depth)]
    named = (f"{FAMILY_METRIC}/{family}" for family in families)
    return [*RATE_METRICS, *SCALAR_METRICS, *named, *plugin_names("procon.metrics"), *by_layer]


def check_metric(
    name: str, field: str, depth: int | None = None, names: Mapping[str, Collection[str]] | None = None
) -> None:
    """Refuse a metric that no trial provides.

    Args:
        name: the metric.
        field: where it stands in the specification, for the message.
        depth: decoder layers of the model; None accepts any layer index.
        names: what :func:`names_of_rates` says; None accepts any name.

    Raises:
        ObjectiveError: no trial provides it; the text offers the nearest one.
    """
    if known_metric(name, depth):
        task = name.removeprefix(f"{LM_EVAL_METRIC}/")
        if task != name and names is not None and task not in names[LM_EVAL_METRIC]:
            raise ObjectiveError(f"{field} ({name!r}) is not measured: add {task} to evaluation.lm_eval.tasks")
        plugin = plugin_of(name)
        if plugin is not None and names is not None and plugin not in names[PLUGINS]:
            raise ObjectiveError(f"{field} ({name!r}) is not measured: add {plugin} to evaluation.metrics")
        rate, measured_for = _named_rate(name) or ("", "")
        there = (names or {}).get(rate)
        if there is not None and measured_for not in there:
            advice = f"it is measured for {', '.join(there)}" if there else f"use {rate}, there is no part of it"
            raise ObjectiveError(f"{field} ({name!r}) is not a metric that a trial provides: {advice}")
        return
    if depth is not None and known_metric(name):
        raise ObjectiveError(
            f"{field} ({name!r}) lies outside the model, which has {depth} decoder layers: "
            f"use layer_00 to layer_{depth - 1:02d}"
        )
    known = metric_names(1 if depth is None else depth)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5) or _same_last_part(name, known)
    advice = f"did you mean {nearest[0]}?" if nearest else f"choose one of {', '.join(known)}"
    raise ObjectiveError(f"{field} ({name!r}) is not a metric that a trial provides: {advice}")


def _same_last_part(name: str, names: Iterable[str]) -> list[str]:
    """Metrics whose last part looks like ``name``: people leave out the ``safety/`` in front."""
    by_part = {full.rsplit("/", 1)[-1]: full for full in names}
    found = difflib.get_close_matches(name.rsplit("/", 1)[-1], list(by_part), n=1, cutoff=0.6)
    return [by_part[part] for part in found]
