"""What the heat maps of a refusal direction show: refusals and KL by layer (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.direction.causal import CausalReport, Refusal


@dataclass(frozen=True)
class HeatMap:
    """Numbers of rows by columns, and what they mean."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    """One tuple per row; NaN where there is none."""
    low: float
    """Value of the lowest colour."""
    high: float
    """Value of the highest colour."""
    colors: str
    """Name of matplotlib's colour map."""
    form: str
    """How a number is written in its cell."""


def farthest(found: "Sequence[Refusal]", untouched: "Refusal") -> float:
    """The share of ``found`` that is farthest from that of the untouched model."""
    return max((one.share for one in found), key=lambda share: abs(share - untouched.share))


def refusal_map(report: "CausalReport") -> HeatMap:
    """Shares of held-out prompts that are refused, by intervention and layer."""
    rows = report.layers
    random_ablated = farthest(report.random_ablated, report.harmful)
    return HeatMap(
        "Share of held-out prompts that are refused",
        (
            f"harmful (untouched {report.harmful.share:.0%}): direction ablated",
            "harmful: clamped to harmless mean",
            "harmful: random direction ablated",
            f"harmless (untouched {report.harmless.share:.0%}): direction added",
            "harmless: random direction added",
        ),
        tuple(str(row.layer) for row in rows),
        (
            tuple(row.ablated.share for row in rows),
            tuple(row.clamped.share for row in rows),
            tuple(random_ablated for _ in rows),
            tuple(row.added.share for row in rows),
            tuple(farthest(row.random_added, report.harmless) for row in rows),
        ),
        0.0,
        1.0,
        "RdBu_r",
        "{:.0%}",
    )


def kl_map(report: "CausalReport") -> HeatMap:
    """What ablation does to harmless prompts, by layer."""
    return HeatMap(
        f"KL on harmless prompts under ablation (nats; passes below {report.limits.kl_below:g})",
        ("harmless: direction ablated",),
        tuple(str(row.layer) for row in report.layers),
        (tuple(row.kl for row in report.layers),),
        0.0,
        2 * report.limits.kl_below,
        "RdBu_r",
        "{:.2f}",
    )
