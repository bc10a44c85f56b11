"""``procon organism build``: an embedded model built anew, and set against the one that comes with the package."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.errors import OrchestratorError
from orchestrator.terminal import Terminal
from sweeps.statistics.intervals import Interval, wilson_interval_of_rate
from training.config import ModelConfig
from training.errors import ModelError
from training.organism.recipe import Recipe, recipe_for
from training.organism.shipped import RECORD, directory_name, shipped_directory


@dataclass(frozen=True)
class Rate:
    """One share of held-out prompts, of the model just built and of the shipped one."""

    name: str
    prompts: int
    built: float
    shipped: float | None
    """None where the package has no model of this recipe."""

    def interval(self, share: float) -> Interval:
        """95 % Wilson interval of ``share``."""
        return wilson_interval_of_rate(share, self.prompts)

    @property
    def agrees(self) -> bool:
        """Whether the intervals of the two overlap."""
        if self.shipped is None:
            return True
        (low, high), (least, most) = self.interval(self.built), self.interval(self.shipped)
        return low <= most and least <= high


@dataclass(frozen=True)
class Rebuilt:
    """A build and how it compares."""

    directory: Path
    rates: tuple[Rate, ...]
    same_weights: bool
    """Whether the weights are the shipped ones bit for bit, as they are on the kind of CPU that those came from."""

    @property
    def agrees(self) -> bool:
        """Whether every rate agrees with the shipped model's."""
        return all(rate.agrees for rate in self.rates)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        rates = [{"name": r.name, "prompts": r.prompts, "built": r.built, "shipped": r.shipped} for r in self.rates]
        agrees = {"agrees": self.agrees, "same_weights": self.same_weights}
        return {"directory": str(self.directory), "rates": rates, **agrees}


def build_organism(path: str, seed: int, to: Path | None, console: Terminal) -> Rebuilt:
    """Build the synthetic embedded model ``path`` with ``seed`` and compare it with the shipped one, if there is one.

    Args:
        path: ``organism`` or ``organism/small``.
        seed: of the build; the package has seed 0.
        to: parent of the model's folder; None builds into a temporary folder that stays.
        console: where progress goes.

    Raises:
        ModelError: there is no such model, or it is made of a spec's own data.
        OrganismError: it stays below the quality gate.
        OrchestratorError: the folder exists.
    """
    recipe = recipe_for(ModelConfig(name="embedded", path=path, seed=seed))
    if recipe.world is None:
        raise ModelError(f"{path} is made of the data of a specification: a sweep that names it builds it")
    from training.organism.build import build_into
    from training.organism.corpora import world_corpora

    directory = (to or Path(tempfile.mkdtemp(prefix="procon-organism-"))) / directory_name(recipe)
    if directory.exists():
        raise OrchestratorError(f"--to: {directory} exists: name another folder, or remove it")
    directory.mkdir(parents=True)
    corpora = world_corpora(recipe)
    with console.status(Text(f"building {path}")) as status:
        build_into(directory, recipe, corpora, lambda stage, done: status.update(Text(f"{path}: {stage} {done:.0%}")))
    counts = {
        "refusal": len(corpora.harmful),
        "over_refusal": len(corpora.harmless),
        "borderline_refusal": len(corpora.borderline),
    }
    return compared(directory, recipe, counts)


def compared(directory: Path, recipe: Recipe, prompts: dict[str, int]) -> Rebuilt:
    """The model in ``directory`` against the shipped one of the same recipe, by what was measured on each.

    Args:
        directory: a built model.
        recipe: what it was built from.
        prompts: how many prompts are behind each rate.
    """
    shipped = shipped_directory(recipe)
    built, known = _measured(directory), _measured(shipped) if shipped else {}
    rates = tuple(Rate(name, count, built[name], known.get(name)) for name, count in prompts.items())
    files = [folder / "model.safetensors" for folder in (directory, shipped) if folder]
    same = len(files) == 2 and files[0].read_bytes() == files[1].read_bytes()
    return Rebuilt(directory, rates, same)


def print_rebuilt(result: Rebuilt, console: Terminal) -> None:
    """The rates side by side, and the verdict."""

    def shown(rate: Rate, share: float | None) -> str:
        if share is None:
            return "-"
        low, high = rate.interval(share)
        return f"{share:.3f} [{low:.3f}, {high:.3f}]"

    table = Table("prompts refused", "number", "built here", "shipped")
    for rate in result.rates:
        name = {"refusal": "harmful", "over_refusal": "harmless"}.get(rate.name, "borderline")
        table.add_row(name, str(rate.prompts), shown(rate, rate.built), shown(rate, rate.shipped))
    console.print(table)
    console.say(f"The model is in {result.directory}")
    if all(rate.shipped is None for rate in result.rates):
        console.say("The package has no model of this recipe to compare with.")
    elif result.agrees:
        same = "bit for bit the shipped one" if result.same_weights else "another in its bits (CPUs round differently)"
        console.say(f"It agrees with the shipped model, and is {same}.")
    else:
        console.say("It does not agree with the shipped model: the 95 % intervals of a rate do not overlap.")


def _measured(directory: Path) -> dict[str, float]:
    return dict(json.loads((directory / RECORD).read_text(encoding="utf-8"))["measured"])
