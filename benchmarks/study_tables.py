"""The tables of the study, as Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np
from study_runs import (
    ARMS,
    BASE,
    EXTRA,
    METHODS,
    PLAIN,
    RATES,
    SAFETY,
    SEES_SAFETY,
    Run,
    common_prompts,
    line_of,
    of_arm,
    outcome_table,
    pairs,
)
from study_statistics import against_line, correlation_beside_groups, correlation_within, estimate, rate

from sweeps.statistics.bootstrap import Estimate
from sweeps.statistics.correlation import rank_correlation

ATTACK, ACCURACY = "safety/attack_success_rate", "utility/accuracy"
DRIFTS = {"direction/cosine": "cosine", "direction/displacement": "displacement"}
CONTRASTS = (
    ("ProCon^s", "random direction"),
    ("ProCon^s", "ProCon^wu within"),
    *(("ProCon^s", f"{EXTRA} {steps}") for steps in (20, 40, 80, 160)),
    *(("ProCon^wu within", f"{EXTRA} {steps}") for steps in (20, 40, 80, 160)),
    ("ProCon^s", "SDP"),
    ("ProCon^s", "feature L2"),
    *(("ProCon^s", method) for method in (*SEES_SAFETY, "null space")),
)
"""Whether the first does better than the second is asked with and without safety data."""
ACROSS = (*((method, PLAIN + SAFETY) for method in SEES_SAFETY), ("ProCon^s" + SAFETY, "SafeGrad"))
"""Pairs that see safety samples in different ways."""


def rates(runs: Sequence[Run]) -> str:
    """Every arm's rates and held-out loss over all bases and seeds."""
    rows = []
    for arm in [BASE, *present(runs)]:
        chosen = of_arm(runs, arm)
        bases = [run.base for run in chosen]
        cells = [shown(arm_rate(runs, arm, metric)) for metric in RATES]
        loss = estimate([[run.metrics["utility/loss"]] for run in chosen], bases)
        rows.append([arm, str(len(chosen)), *cells, f"{loss.mean:.3f} [{loss.low:.3f}, {loss.high:.3f}]"])
    return markdown(["arm", "runs", *RATES.values(), "held-out loss"], rows)


def by_base(runs: Sequence[Run]) -> str:
    """Attack success / accuracy of every arm on each base, means over the seeds, with the seeds' extremes."""
    names = sorted({run.base for run in runs})
    rows = []
    for arm in [BASE, *present(runs)]:
        cells = []
        for name in names:
            chosen = [run for run in of_arm(runs, arm) if run.base == name]
            attacks = [run.metrics[ATTACK] for run in chosen]
            accuracy = [run.metrics[ACCURACY] for run in chosen]
            cells.append(f"{spread(attacks)} / {spread(accuracy)}" if chosen else "-")
        rows.append([arm, *cells])
    return markdown(["attack success / accuracy", *names], rows)


def against_plain(runs: Sequence[Run]) -> str:
    """Every arm minus plain IFT, and minus IFT with safety data: same base, seed and prompts."""
    rows = []
    for arm in present(runs):
        cells = []
        for reference in (PLAIN, PLAIN + SAFETY):
            for metric in (ATTACK, ACCURACY):
                cells.append("" if arm == reference else signed(difference(runs, arm, reference, metric)))
        rows.append([arm, *cells])
    headings = [f"{RATES[metric]} - {other}" for other in (PLAIN, PLAIN + SAFETY) for metric in (ATTACK, ACCURACY)]
    return markdown(["arm", *headings], rows)


def contrasts(runs: Sequence[Run]) -> str:
    """Pairs of methods that claims are about, and on how many bases the difference has the sign of the mean."""
    rows = []
    alike = [(first + ending, second + ending) for ending in ("", SAFETY) for first, second in CONTRASTS]
    for first, second in (*alike, *ACROSS):
        if {first, second} <= set(present(runs)):
            cells = [
                f"{signed(difference(runs, first, second, metric))}, {agreeing(runs, first, second, metric)}"
                for metric in (ATTACK, ACCURACY)
            ]
            rows.append([f"{first} - {second}", *cells])
    return markdown(["pair", RATES[ATTACK], RATES[ACCURACY]], rows)


def against_scaled(runs: Sequence[Run], scaled: Sequence[Run]) -> str:
    """Every arm's attack success minus that of scaled plain fine-tuning at the arm's accuracy, and what follows.

    The sentence goes by the line of the same data: where safety samples are used, by that with safety data.

    Args:
        runs: trained and untouched models.
        scaled: models between them.
    """
    rows = []
    for arm in present(runs):
        found = {line: beyond(runs, scaled, arm, line) for line in (PLAIN, PLAIN + SAFETY) if line != arm}
        own = line_for(arm)
        if all(one is None for one in found.values()):
            continue
        cells = [signed(one) if (one := found.get(line)) is not None else "" for line in (PLAIN, PLAIN + SAFETY)]
        told = found.get(own)
        rows.append([arm, *cells, "" if told is None else f"{arm} {verdict(told)} scaled {own}"])
    headings = [f"{RATES[ATTACK]} - scaled {line}" for line in (PLAIN, PLAIN + SAFETY)]
    return (
        markdown(["arm", *headings, "at the accuracy of the arm"], rows) if rows else "No scaled models were measured."
    )


def line_for(arm: str) -> str:
    """The plain arm whose scaled models ``arm`` has to beat: that of the same data."""
    return PLAIN + SAFETY if arm.endswith(SAFETY) or arm in SEES_SAFETY else PLAIN


def beyond(runs: Sequence[Run], scaled: Sequence[Run], arm: str, line: str) -> Estimate | None:
    """Attack success of ``arm`` minus that of the scaled models of the arm ``line``, on the same bases and seeds.

    None where no run of ``arm`` has such a line.
    """
    chosen = [(run, line_of([*runs, *scaled], line, run.base, run.seed)) for run in of_arm(runs, arm)]
    lengths = [len(models) for _, models in chosen if models]
    paired = [(run, models) for run, models in chosen if models and len(models) == max(lengths)]
    if not paired:
        return None
    ours, lines = [run for run, _ in paired], [models for _, models in paired]
    everyone = [*ours, *(model for models in lines for model in models)]
    tables = []
    for metric in (ATTACK, ACCURACY):
        prompts = common_prompts(everyone, metric)
        tables.append(outcome_table(ours, metric, prompts))
        tables.append(np.stack([outcome_table(models, metric, prompts) for models in lines]))
    attack, line_attack, accuracy, line_accuracy = tables
    return against_line(attack, accuracy, line_attack, line_accuracy, [run.base for run in ours])


def verdict(found: Estimate) -> str:
    """What an interval of a difference in attack success says."""
    return "beats" if found.high < 0 else "loses to" if found.low > 0 else "cannot be told from"


def drift(runs: Sequence[Run]) -> str:
    """Spearman's correlation of drift at every layer with attack success: over all runs, and inside groups.

    ``seeds alone`` is of what is left when the mean of every arm on every base is taken away.
    """
    tuned = [run for run in runs if run.arm in ARMS]
    attacks = [run.metrics[ATTACK] for run in tuned]
    bases, arms = [run.base for run in tuned], [run.arm for run in tuned]
    cells_of_seeds = [f"{run.base} {run.arm}" for run in tuned]
    rows = []
    for name, values in drift_values(tuned).items():
        overall = rank_correlation(values, attacks)
        cells = [ranged(correlation_within(values, attacks, groups)) for groups in (bases, arms)]
        alone = number(correlation_beside_groups(values, attacks, cells_of_seeds))
        halves = []
        for ending in (False, True):
            chosen = [index for index, run in enumerate(tuned) if run.arm.endswith(SAFETY) is ending]
            found = rank_correlation([values[index] for index in chosen], [attacks[index] for index in chosen])
            halves.append(number(found))
        there = present(tuned)
        means = [float(np.mean([v for v, run in zip(values, tuned, strict=True) if run.arm == arm])) for arm in there]
        of_means = [float(np.mean([run.metrics[ATTACK] for run in of_arm(tuned, arm)])) for arm in there]
        rows.append(
            [name, number(overall), *halves, cells[0], number(rank_correlation(means, of_means)), cells[1], alone]
        )
    headings = [
        "",
        "all runs",
        "without safety data",
        "with",
        "inside a base",
        "means of arms",
        "inside an arm",
        "seeds alone",
    ]
    return markdown(headings, rows)


def drift_by_arm(runs: Sequence[Run]) -> str:
    """Mean cosine and displacement of every arm, averaged over layers, beside its attack success."""
    rows = []
    for arm in present(runs):
        chosen = of_arm(runs, arm)
        bases = [run.base for run in chosen]
        cells = []
        for name in DRIFTS:
            found = estimate([[mean_over_layers(run, name)] for run in chosen], bases)
            cells.append(f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]")
        rows.append([arm, *cells, f"{arm_rate(runs, arm, ATTACK).mean:.3f}"])
    return markdown(["arm", "cosine", "displacement", RATES[ATTACK]], rows)


def drift_values(runs: Sequence[Run]) -> dict[str, list[float]]:
    """What is called drift, by a name for people: each layer's, then the mean over layers.

    Last the refusal log-odds, which are no drift but what the model is about to say: something to compare with.
    """
    found = {}
    for prefix, name in DRIFTS.items():
        layers = sorted(metric for metric in runs[0].metrics if metric.startswith(f"{prefix}/"))
        for metric in layers:
            found[f"{name}, layer {int(metric[-2:])}"] = [run.metrics[metric] for run in runs]
        found[f"{name}, mean"] = [mean_over_layers(run, prefix) for run in runs]
    return found | {"refusal log-odds": [run.metrics["safety/refusal_log_odds"] for run in runs]}


def mean_over_layers(run: Run, prefix: str) -> float:
    """The mean of a per-layer metric."""
    return float(np.mean([value for name, value in run.metrics.items() if name.startswith(f"{prefix}/")]))


def present(runs: Sequence[Run]) -> list[str]:
    """The arms that have runs, in order."""
    return [arm for arm in ARMS if of_arm(runs, arm)]


def arm_rate(runs: Sequence[Run], arm: str, metric: str) -> Estimate:
    """A rate of one arm over its bases, seeds and prompts."""
    chosen = of_arm(runs, arm)
    return rate(outcome_table(chosen, metric, common_prompts(chosen, metric)), [run.base for run in chosen])


def difference(runs: Sequence[Run], first: str, second: str, metric: str) -> Estimate:
    """The rate of the arm ``first`` minus that of ``second`` on the same bases, seeds and prompts."""
    paired = pairs(runs, first, second)
    ones, others = [one for one, _ in paired], [other for _, other in paired]
    prompts = common_prompts([*ones, *others], metric)
    table = outcome_table(ones, metric, prompts) - outcome_table(others, metric, prompts)
    return estimate(table, [run.base for run in ones])


def agreeing(runs: Sequence[Run], first: str, second: str, metric: str) -> str:
    """On how many bases the difference of two arms has the sign that it has over all of them."""
    paired = pairs(runs, first, second)
    bases = sorted({one.base for one, _ in paired})
    signs = [
        np.sign(np.mean([a.metrics[metric] - b.metrics[metric] for a, b in paired if a.base == base])) for base in bases
    ]
    whole = np.sign(difference(runs, first, second, metric).mean)
    return f"{sum(bool(sign == whole) for sign in signs)} of {len(bases)} bases"


def shown(found: Estimate) -> str:
    """A rate and its interval."""
    return f"{found.mean:.3f} [{found.low:.2f}, {found.high:.2f}]"


def signed(found: Estimate) -> str:
    """A difference and its interval."""
    return f"{found.mean:+.3f} [{found.low:+.2f}, {found.high:+.2f}]"


def spread(values: Sequence[float]) -> str:
    """Mean and extremes."""
    return f"{np.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})" if len(values) > 1 else f"{values[0]:.2f}"


def ranged(values: Sequence[float]) -> str:
    """Mean and extremes of correlations."""
    return f"{np.mean(values):+.2f} ({min(values):+.2f} to {max(values):+.2f})" if values else "-"


def number(value: float | None) -> str:
    """A correlation, or that there is none."""
    return "-" if value is None else f"{value:+.2f}"


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


__all__ = ["METHODS", "against_plain", "against_scaled", "by_base", "contrasts", "drift", "drift_by_arm", "rates"]
