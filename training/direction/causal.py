"""Whether a direction causes refusal: what was measured per layer, the verdict, and the layers worth constraining.

A layer passes where, on held-out prompts, the model without its direction answers what it refuses, the model with it
added refuses what it answers, random directions do neither, and ablation leaves harmless prompts alone. Of the layers
that pass, the best is the one whose ablation leaves the lowest refusal log-odds (arXiv 2406.11717, appendix C, less
its limit on depth) and whose answers agree; its contiguous neighbours that pass and come close make up the band.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

from training.config import CausalConfig


@dataclass(frozen=True)
class Refusal:
    """How a set of prompts is refused, read off the next-token distribution at the last prompt token."""

    share: float
    """Share of prompts whose likeliest next token opens a refusal, as their greedy answer would."""
    log_odds: float
    """Mean refusal log-odds, natural logarithm."""


@dataclass(frozen=True)
class LayerCheck:
    """What one layer's direction does."""

    layer: int
    """0-based."""
    separation: float
    """Distance between the class means, in the residual stream's unit."""
    ablated: Refusal
    """Harmful prompts while the direction is removed at every site."""
    clamped: Refusal
    """Harmful prompts while the projection on it is held at the harmless mean of every layer."""
    added: Refusal
    """Harmless prompts while it is added to this layer."""
    random_added: tuple[Refusal, ...]
    """Harmless prompts while random vectors of the same norm are added to this layer."""
    kl: float
    """Mean KL divergence (nats) of the next token on harmless prompts, untouched model to ablated one."""


class Fault(NamedTuple):
    """Something that speaks against a cause."""

    check: str
    """What was tried: ablation, addition, random ablation, random addition, KL."""
    text: str
    """What came of it and what was needed."""


@dataclass(frozen=True)
class AnswerCheck:
    """Shares of generated answers that refuse."""

    harmful: float
    """Harmful prompts, untouched."""
    harmless: float
    """Harmless prompts, untouched."""
    ablated: float
    """Harmful prompts, direction removed."""
    added: float
    """Harmless prompts, direction added."""
    random_ablated: float
    """Harmful prompts, the first random direction removed."""
    random_added: float
    """Harmless prompts, the first random vector added."""

    def faults(self, limits: CausalConfig) -> list[Fault]:
        """Why the answers do not show that the direction causes refusal; empty where they do."""
        changes = abs(self.random_ablated - self.harmful), abs(self.random_added - self.harmless)
        return _effects(self.ablated, self.added, changes, limits)


@dataclass(frozen=True, eq=False)
class CausalReport:
    """The causal check of one model's direction."""

    layers: tuple[LayerCheck, ...]
    """One row per decoder layer."""
    harmful: Refusal
    """Harmful prompts, untouched model."""
    harmless: Refusal
    """Harmless prompts, untouched model."""
    random_ablated: tuple[Refusal, ...]
    """Harmful prompts while random directions are removed; no layer has a part in it."""
    answers: Mapping[int, AnswerCheck]
    """What the generated answers showed, by layer, of those that were candidates for the best."""
    limits: CausalConfig
    """What was asked of it."""
    prompts: tuple[int, int]
    """Held-out harmful and harmless prompts."""
    direction: str
    """Fingerprint of the direction."""

    @cached_property
    def instrument_faults(self) -> list[str]:
        """Why refusal cannot be read off the next-token distribution of the untouched model; empty where it can."""
        if self.harmful.share > self.limits.refusal_above and self.harmless.share < self.limits.refusal_below:
            return []
        return [
            "the next token does not tell the untouched model's refusals from its answers (a refusal opens on "
            f"{self.harmful.share:.0%} of the harmful and {self.harmless.share:.0%} of the harmless prompts)"
        ]

    def faults(self, layer: int) -> list[Fault]:
        """Why ``layer`` does not pass; empty where it does."""
        row, limits = self.layers[layer], self.limits
        changes = (
            max(abs(one.share - self.harmful.share) for one in self.random_ablated),
            max(abs(one.share - self.harmless.share) for one in row.random_added),
        )
        found = _effects(row.ablated.share, row.added.share, changes, limits)
        if not row.kl < limits.kl_below:
            text = f"ablation changes harmless prompts (KL {row.kl:.2f} nats, needs below {limits.kl_below:g})"
            found.append(Fault("KL", text))
        spoken = self.answers.get(layer)
        for fault in spoken.faults(limits) if spoken else []:
            found.append(Fault(f"{fault.check} by answers", f"by its answers, {fault.text}"))
        return found

    @cached_property
    def best(self) -> int | None:
        """The layer that passes, by its answers too, with the lowest refusal log-odds under ablation."""
        passing = [layer for layer in self.candidates() if layer in self.answers]
        return passing[0] if passing else None

    def candidates(self) -> list[int]:
        """The layers that pass, best first."""
        if self.instrument_faults:
            return []
        passing = [row for row in self.layers if not self.faults(row.layer)]
        return [row.layer for row in sorted(passing, key=lambda row: row.ablated.log_odds)]

    @cached_property
    def band(self) -> tuple[int, ...]:
        """The recommended layers, ascending: the best, and on both sides of it those that pass and come close."""
        if self.best is None:
            return ()
        passing = set(self.candidates())
        needed = (1 - self.limits.band_margin) * self._drop(self.best)

        def joins(layer: int) -> bool:
            return layer in passing and self._drop(layer) >= needed

        first = last = self.best
        while joins(first - 1):
            first -= 1
        while joins(last + 1):
            last += 1
        return tuple(range(first, last + 1))

    def _drop(self, layer: int) -> float:
        """How far ablating the direction of ``layer`` lowers the refusal log-odds."""
        return self.harmful.log_odds - self.layers[layer].ablated.log_odds

    @property
    def passes(self) -> bool:
        """Whether the direction of some layer causes refusal."""
        return self.best is not None

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        if self.passes:
            band = layers_text(self.band)
            return f"the direction causes refusal, best at layer {self.best}; recommended for constraints: {band}"
        if self.instrument_faults:
            return f"the direction fails its causal check: {self.instrument_faults[0]}"
        closest = min(self.layers, key=lambda row: (len(self.faults(row.layer)), row.ablated.log_odds)).layer
        reasons = "; ".join(fault.text for fault in self.faults(closest))
        return f"the direction fails its causal check at every layer; at the closest, layer {closest}, {reasons}"

    def as_json(self) -> dict[str, Any]:
        """What ``causal.json`` holds: everything measured, and the verdicts for who reads it."""
        rows = [{**asdict(row), "faults": [fault.text for fault in self.faults(row.layer)]} for row in self.layers]
        return {
            "passes": self.passes,
            "sentence": self.sentence,
            "best": self.best,
            "band": list(self.band),
            "layers": rows,
            "harmful": asdict(self.harmful),
            "harmless": asdict(self.harmless),
            "random_ablated": [asdict(one) for one in self.random_ablated],
            "answers": {str(layer): asdict(check) for layer, check in self.answers.items()},
            "limits": self.limits.model_dump(),
            "prompts": list(self.prompts),
            "direction": self.direction,
        }


def _effects(ablated: float, added: float, random_changes: tuple[float, float], limits: CausalConfig) -> list[Fault]:
    """What speaks against a cause, of shares that refuse and of their changes by random ablation and addition."""
    below, above, least = limits.refusal_below, limits.refusal_above, limits.random_change
    found = []
    if not ablated < below:
        text = f"ablation leaves {ablated:.0%} of the harmful prompts refused (needs below {below:.0%})"
        found.append(Fault("ablation", text))
    if not added > above:
        text = f"addition makes {added:.0%} of the harmless prompts refused (needs above {above:.0%})"
        found.append(Fault("addition", text))
    for name, change in zip(("ablation", "addition"), random_changes, strict=True):
        if not change < least:
            text = f"{name} of a random direction changes {change:.0%} of the prompts (needs below {least:.0%})"
            found.append(Fault(f"random {name}", text))
    return found


def layers_text(layers: tuple[int, ...]) -> str:
    """A contiguous band as people and specs write it: ``3``, ``10-14``; a dash for none."""
    if not layers:
        return "-"
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"
