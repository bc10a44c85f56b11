"""What the doctor says of the search: what mattered not, at whose edge the best lies, what was cut short (pure)."""

import math
from collections.abc import Iterator
from typing import Any

from orchestrator.front.examined import Examined
from orchestrator.record.trials import Status, TrialRecord
from sweeps.space.layer_ranges import LayerRange
from sweeps.space.ranges import Integer, LogUniform, Range, Uniform
from sweeps.statistics.pareto import non_dominated

WEAK_CORRELATION = 0.3
UNIMPORTANT_SHARE = 0.1
UNIMPORTANT_P = 0.05
NEAR = 0.05
"""Within this share of a range's length, on its scale, a value lies at its end."""


def importance(sweep: Examined) -> Iterator[str]:
    """Settings without effect on any objective."""
    found = sweep.body.importance
    rows = [row for target in found.targets.values() for row in target]
    for name in dict.fromkeys(row.param for row in rows):
        own = [row for row in rows if row.param == name]
        if all(row.importance < UNIMPORTANT_SHARE and row.p_value > UNIMPORTANT_P for row in own):
            if found.reliable:
                yield f"{name} hardly mattered for any objective: fix it and spend the trials on the rest"
            else:
                yield f"{name} shows no effect on any objective yet, but {found.n} trials are few to tell"


def pruning(sweep: Examined) -> Iterator[str]:
    """Rung metrics that foretold nothing, and pruned trials that looked as good as the front."""
    pruned = [r for r in sweep.records if r.status is Status.PRUNED and r.kind == "trial" and r.rungs]
    if not pruned:
        return
    for objective, (rung_metric, _) in sweep.rung_goals.items():
        rows = [
            (row.spearman, row.n)
            for row in sweep.body.prediction
            if (row.objective, row.metric) == (objective, rung_metric)
            and row.spearman is not None
            and row.step in {record.rungs[-1].step for record in pruned}
        ]
        rho, finished = max(rows, key=lambda row: abs(row[0]), default=(1.0, 0))
        if abs(rho) < WEAK_CORRELATION:
            yield (
                f"{len(pruned)} trials were pruned by {rung_metric}, which hardly foretold {objective} (rank "
                f"correlation {rho:+.2f} over {finished} finished trials): consider pruning: null"
            )
    promising = [record for record in pruned if _as_good_as_the_front(sweep, record)]
    if len(promising) > len(pruned) / 4:
        yield (
            f"pruning may be too greedy: at their last rung {len(promising)} of {len(pruned)} pruned trials were "
            f"behind no trial of the final front (such as {promising[0].id}); raise pruning.confidence"
        )


def _as_good_as_the_front(sweep: Examined, record: TrialRecord) -> bool:
    """Whether no trial of the final front dominated ``record`` at its last rung."""
    compared = list(sweep.rung_goals.values())
    members = set(sweep.body.front)
    # The same rung of all: its step is another where trials have other numbers of steps.
    passed = len(record.rungs)
    at_rung = [r.rungs[passed - 1] for r in sweep.records if r.id in members and len(r.rungs) >= passed]
    values = [[rung.scores.metrics.get(m, math.nan) for m, _ in compared] for rung in (record.rungs[-1], *at_rung)]
    return bool(at_rung) and bool(compared) and bool(non_dominated(values, [goal for _, goal in compared])[0])


def boundary(sweep: Examined) -> Iterator[str]:
    """Ends of ranges at which at least half of the front lies, and two trials or more."""
    depth = _depth(sweep)
    members = [trial for trial in sweep.body.members if trial.arm is None]  # the other arm has ranges of its own
    for path, searched in (sweep.spec.ranges if sweep.spec is not None else {}).items():
        ends = [_end(searched, trial.params.get(path), depth) for trial in members]
        for end in ("lower", "upper"):
            count = ends.count(end)
            if count < 2 or 2 * count < len(members):
                continue
            where = f"{count} of {len(members)} trials on the front have {path}"
            if isinstance(searched, LayerRange):
                edge = "first" if end == "lower" else "last"
                yield f"{where} at the model's {edge} layer: search a band of layers (choose: band) rather than one"
            else:
                bound = getattr(searched, "low" if end == "lower" else "high")
                yield f"{where} at the {end} end of its range ({bound:g}): widen the range beyond it"


def _end(searched: Range, value: Any, depth: int | None) -> str | None:
    """At which end of its range ``value`` lies; None at neither, and of layers where the depth is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(searched, LayerRange):
        return None if depth is None or depth < 3 else {0: "lower", depth - 1: "upper"}.get(int(value))
    if not isinstance(searched, Uniform | LogUniform | Integer):
        return None
    low, high, at = float(searched.low), float(searched.high), float(value)
    if isinstance(searched, LogUniform):
        low, high, at = math.log(low), math.log(high), math.log(at)
    share = (at - low) / (high - low)
    return "lower" if share <= NEAR else "upper" if share >= 1 - NEAR else None


def _depth(sweep: Examined) -> int | None:
    """Decoder layers, as the per-layer metrics count them."""
    names = {name for record in sweep.records for name in record.report.metrics if "/layer_" in name}
    return 1 + max(int(name.rsplit("_", 1)[-1]) for name in names) if names else None
