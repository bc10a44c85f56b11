"""``procon direction``: the refusal direction of one model, what it causes, and the layers worth constraining."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.commands.train import chosen_model
from orchestrator.driver.preflight import check_specification
from orchestrator.record.folder import create_output
from orchestrator.terminal import Terminal
from sweeps.schema.spec import SweepSpec
from training.config import CausalConfig, ModelConfig
from training.models.located import model_path

if TYPE_CHECKING:
    from rich.table import Table

    from training.direction.causal import CausalReport, LayerCheck
    from training.direction.extraction import Extraction

PICTURE = "direction.png"


@dataclass(frozen=True, eq=False)
class DirectionOutcome:
    """A model's direction and its causal report."""

    directory: Path
    model: str
    extraction: "Extraction"
    seconds: float
    """Of extraction and check, the loading of the model left out."""
    overlaps: tuple[str, ...] = ()
    """Which evaluation prompts the direction was made from, in a sentence a set."""

    @property
    def report(self) -> "CausalReport":
        """What the direction causes."""
        assert self.extraction.causal is not None, "the command always checks"
        return self.extraction.causal

    def as_json(self) -> dict[str, Any]:
        """For scripts: what ``causal.json`` holds, and how it came about."""
        direction = self.extraction.direction
        return {
            "directory": str(self.directory),
            "model": self.model,
            "seconds": round(self.seconds, 1),
            "harmful_prompts": direction.harmful_prompts,
            "harmless_prompts": direction.harmless_prompts,
            "dropped_harmful": direction.dropped_harmful,
            "dropped_harmless": direction.dropped_harmless,
            "overlaps": list(self.overlaps),
            **self.report.as_json(),
        }


def extract_one(spec: SweepSpec, model_name: str | None, out: str | Path | None, console: Terminal) -> DirectionOutcome:
    """Extract and check the direction of one model, and write it, its report and their picture.

    Args:
        spec: a validated specification with absolute paths; a switched-off causal check is made nonetheless.
        model_name: one of its models; None takes the first.
        out: an empty or new folder; None takes ``runs/<name>-direction``.
        console: where progress goes.

    Raises:
        SpecError, OutputError, TrainingError: what a person can mend.
    """
    from orchestrator.report.plots.direction import write_direction_png

    model = chosen_model(spec, model_name)
    check_specification(spec, console.say)
    directory = create_output(out, f"{spec.name}-direction")
    extraction, seconds, overlaps = _extracted(spec, model, directory, console.say)
    outcome = DirectionOutcome(directory, model.name, extraction, seconds, overlaps)
    write_direction_png(outcome.report, model.name, directory / PICTURE)
    return outcome


def _extracted(
    spec: SweepSpec, model: ModelConfig, directory: Path, say: Callable[[str], None]
) -> "tuple[Extraction, float, tuple[str, ...]]":
    import torch

    from training.data.chat_settings import ChatSettings
    from training.direction.extraction import load_or_extract
    from training.distributed.process import device_of_process
    from training.evaluation.overlap import direction_overlaps
    from training.evaluation.sets import EvaluationSets
    from training.models.loading import load_model, load_tokenizer, model_fingerprint

    told: set[str] = set()

    def phase(stage: str, _fraction: float) -> None:
        if stage not in told:
            told.add(stage)
            say(stage)

    device = device_of_process()
    if device.type == "cpu":
        os.environ.setdefault(
            "DS_ACCELERATOR", "cpu"
        )  # DeepSpeed, which the organism's build imports, would guess aloud
        torch.set_num_threads(1)  # more threads fight for the cores: this check took 50 times longer on two
    path = model_path(model, spec.data, phase)
    say(f"loading {model.name} from {path}")
    loaded = load_model(path, spec.trial.precision).to(device)
    begin = time.time()
    tokenizer = load_tokenizer(path, ChatSettings.of(model, date.today()))
    extraction = load_or_extract(
        loaded,
        tokenizer,
        spec.data,
        spec.direction.model_copy(update={"causal": spec.direction.causal or CausalConfig()}),
        directory / "directions" / model.name,
        model_fingerprint=model_fingerprint(loaded),
        say=say,
    )
    seconds = time.time() - begin
    asked = EvaluationSets.load(spec.data, spec.evaluation, tokenizer).prompts
    return extraction, seconds, tuple(direction_overlaps(extraction.prompts.used, asked))


def print_direction(outcome: DirectionOutcome, console: Terminal) -> None:
    """The table of all layers, the verdict, and where everything is."""
    say = console.say
    report, direction = outcome.report, outcome.extraction.direction
    console.print(_table(outcome.model, report))
    for side in ("harmful", "harmless"):
        kept, dropped = getattr(direction, f"{side}_prompts"), getattr(direction, f"dropped_{side}")
        say(f"{kept} {side} prompts extracted it; {dropped} more were dropped by the model's own answers to them")
    for layer, check in report.answers.items():
        say(
            f"answers at layer {layer}: {check.ablated:.0%} of the harmful prompts refused without the direction "
            f"({check.harmful:.0%} with it, {check.random_ablated:.0%} without a random one), {check.added:.0%} of the "
            f"harmless ones with it added ({check.harmless:.0%} without, {check.random_added:.0%} with a random one)"
        )
    for sentence in outcome.overlaps:
        say(sentence)
    say(f"{outcome.model}: {report.sentence}")
    say(f"{outcome.seconds:.1f} s; direction, report and picture are in {outcome.directory}")


def _table(model: str, report: "CausalReport") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{model}: refused of {report.prompts[0]} harmful and {report.prompts[1]} harmless held-out prompts",
        caption=f"added: {report.limits.strength:g} x separation; random: the farthest of "
        f"{report.limits.random_directions} random directions; KL: nats, harmless prompts under ablation",
    )
    for heading in (
        "layer",
        "sepa-\nration",
        "harmful\nablated",
        "harmful\nclamped",
        "harmful\nrandom",
        "harmless\nadded",
        "harmless\nrandom",
        "KL",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_row(
        "none", "", *[f"{report.harmful.share:.0%}"] * 3, *[f"{report.harmless.share:.0%}"] * 2, "", "untouched"
    )
    table.add_section()
    for row in report.layers:
        table.add_row(*_cells(report, row), style="bold" if row.layer in report.band else None)
    return table


def _cells(report: "CausalReport", row: "LayerCheck") -> list[str]:
    from orchestrator.report.plots.heat_maps import farthest

    faults = report.faults(row.layer)
    verdict = f"fails: {', '.join(fault.check for fault in faults)}" if faults else "passes"
    if row.layer in report.band:
        verdict += ", best" if row.layer == report.best else ", recommended"
    return [
        str(row.layer),
        f"{row.separation:.1f}",
        f"{row.ablated.share:.0%}",
        f"{row.clamped.share:.0%}",
        f"{farthest(report.random_ablated, report.harmful):.0%}",
        f"{row.added.share:.0%}",
        f"{farthest(row.random_added, report.harmless):.0%}",
        f"{row.kl:.2f}",
        verdict,
    ]
