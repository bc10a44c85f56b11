"""What the doctor says of the search: what mattered not, at whose edge the best lies, what was cut short (pure)."""

import math
from collections.abc import Iterator

from orchestrator.front.boundaries import boundary_notes
from orchestrator.front.examined import Examined
from orchestrator.record.trials import Status, TrialRecord
from sweeps.statistics.pareto import non_dominated

WEAK_CORRELATION = 0.3
UNIMPORTANT_SHARE = 0.1
UNIMPORTANT_P = 0.05


def importance(sweep: Examined) -> Iterator[str]:
    """Settings without effect on any objective."""
    found = sweep.body["importance"]
    rows = [row for target in found["targets"].values() for row in target]
    for name in dict.fromkeys(row["param"] for row in rows):
        own = [row for row in rows if row["param"] == name]
        if all(row["importance"] < UNIMPORTANT_SHARE and row["p_value"] > UNIMPORTANT_P for row in own):
            if found["reliable"]:
                yield f"{name} hardly mattered for any objective: fix it and spend the trials on the rest"
            else:
                yield f"{name} shows no effect on any objective yet, but {found['n']} trials are few to tell"


def pruning(sweep: Examined) -> Iterator[str]:
    """Rung metrics that foretold nothing, and pruned trials that looked as good as the front."""
    pruned = [r for r in sweep.records if r.status is Status.PRUNED and r.kind == "trial" and r.rungs]
    if not pruned:
        return
    for objective, (rung_metric, _) in sweep.rung_goals.items():
        rows = [
            row
            for row in sweep.body["prediction"]
            if (row["objective"], row["metric"]) == (objective, rung_metric)
            and row["spearman"] is not None
            and row["step"] in {record.rungs[-1].step for record in pruned}
        ]
        best = max(rows, key=lambda row: abs(row["spearman"]), default=None)
        if best is not None and abs(best["spearman"]) < WEAK_CORRELATION:
            yield (
                f"{len(pruned)} trials were pruned by {rung_metric}, which hardly foretold {objective} (rank "
                f"correlation {best['spearman']:+.2f} over {best['n']} finished trials): consider pruning: null"
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
    members = {trial["id"] for trial in sweep.members}
    # The same rung of all: its step is another where trials have other numbers of steps.
    passed = len(record.rungs)
    at_rung = [r.rungs[passed - 1] for r in sweep.records if r.id in members and len(r.rungs) >= passed]
    values = [[rung.scores.metrics.get(m, math.nan) for m, _ in compared] for rung in (record.rungs[-1], *at_rung)]
    return bool(at_rung) and bool(compared) and bool(non_dominated(values, [goal for _, goal in compared])[0])


def boundary(sweep: Examined) -> Iterator[str]:
    """Ends of ranges where the front lies."""
    if sweep.spec is not None:
        yield from boundary_notes(sweep.spec.ranges, sweep.members, _depth(sweep))


def _depth(sweep: Examined) -> int | None:
    """Decoder layers, as the per-layer metrics count them."""
    names = {name for record in sweep.records for name in record.report.metrics if "/layer_" in name}
    return 1 + max(int(name.rsplit("_", 1)[-1]) for name in names) if names else None
