"""``procon reproduce``: one trial of a recorded sweep, run again and compared with what was measured then."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.driver.preflight import check_measured
from orchestrator.errors import OutputError
from orchestrator.record.answers import write_answers
from orchestrator.record.environment import Difference, differences
from orchestrator.record.folder import ANSWERS, create_output, write_json
from orchestrator.record.manifest import manifest
from orchestrator.record.recorded_trial import RecordedTrial, recorded_trial
from orchestrator.terminal import Terminal
from sweeps.statistics.intervals import Interval, wilson_interval
from training.evaluation.scores import Scores

if TYPE_CHECKING:
    from training.loop.train import StepReport
    from training.workbench import Measurement

RESULT = "reproduce.json"
WEIGHTS = "weights"


@dataclass(frozen=True)
class RateComparison:
    """One rate, then and now."""

    metric: str
    recorded: float
    interval: Interval
    """95 % Wilson interval of what was recorded."""
    now: float | None
    """None where it was not measured again."""

    @property
    def inside(self) -> bool:
        """Whether the new value lies in the recorded interval."""
        return self.now is not None and self.interval[0] <= self.now <= self.interval[1]


@dataclass(frozen=True)
class ScalarComparison:
    """One number that is no rate, then and now."""

    metric: str
    recorded: float
    now: float | None

    @property
    def relative_difference(self) -> float | None:
        """How far the new value is off, as a share of the recorded one; None where either is missing or not finite."""
        if self.now is None or not math.isfinite(self.now) or not math.isfinite(self.recorded):
            return None
        if self.now == self.recorded:
            return 0.0
        return abs(self.now - self.recorded) / abs(self.recorded) if self.recorded else math.inf


@dataclass(frozen=True)
class Reproduction:
    """How a trial came out the second time."""

    directory: Path
    trial: str
    rates: list[RateComparison]
    scalars: list[ScalarComparison]
    environment: list[Difference]
    seconds: float

    @property
    def within(self) -> bool:
        """Whether every rate lies in its recorded interval."""
        return all(rate.inside for rate in self.rates)

    def as_json(self) -> dict[str, Any]:
        """What ``reproduce.json`` holds; what is unknown or not finite is null."""
        return {
            "trial": self.trial,
            "within": self.within,
            "directory": str(self.directory),
            "seconds": round(self.seconds, 1),
            "rates": {
                rate.metric: {
                    "recorded": rate.recorded,
                    "interval": list(rate.interval),
                    "now": rate.now,
                    "inside": rate.inside,
                }
                for rate in self.rates
            },
            "scalars": {
                scalar.metric: {
                    "recorded": _finite(scalar.recorded),
                    "now": _finite(scalar.now),
                    "relative_difference": _finite(scalar.relative_difference),
                }
                for scalar in self.scalars
            },
            "environment": [difference.as_json() for difference in self.environment],
        }


def compare(recorded: Scores, now: Mapping[str, float]) -> tuple[list[RateComparison], list[ScalarComparison]]:
    """Rates and other numbers of two measurements.

    Args:
        recorded: with the counts behind its rates.
        now: value by metric.
    """
    values, counts = recorded.metrics, recorded.counts
    rates = [
        RateComparison(name, values[name], wilson_interval(*count), now.get(name))
        for name, count in counts.items()
        if name in values
    ]
    scalars = [ScalarComparison(name, value, now.get(name)) for name, value in values.items() if name not in counts]
    return rates, scalars


def reproduce(
    directory: Path, trial: str, out: Path | None, console: Terminal, *, answers: bool = False
) -> Reproduction:
    """Run ``trial`` of the sweep in ``directory`` again with its recorded settings and seed, in this process.

    The direction is extracted and the references are computed anew; of the sweep's folder only the journal is read, the
    day that its prompts are of among it. A trial of several workers is run by one, on the same global batches.

    Args:
        directory: a sweep's output folder.
        trial: id of a finished trial, reference or replicate.
        out: an empty or new folder for the result and the weights; None takes ``runs/<sweep>-<trial>-again``.
        console: where progress goes.
        answers: whether the texts of its answers are kept in the folder, for ``procon answers``.

    Raises:
        OutputError, SpecError, TrainingError: what a person can mend, such as data that have moved.
    """
    begin = time.time()
    chosen = recorded_trial(directory, trial)
    check_measured(chosen.spec, console.say)
    folder = create_output(out, f"{chosen.spec.name}-{trial}-again")
    found = differences(chosen.manifest, manifest(chosen.spec, chosen.day))
    measurement = _run(chosen, folder, console)
    if answers:
        write_answers(folder / ANSWERS, chosen.record.id, measurement.answers)
    rates, scalars = compare(chosen.record.report, measurement.report.metrics)
    result = Reproduction(folder, trial, rates, scalars, found, time.time() - begin)
    try:
        write_json(folder / RESULT, result.as_json())
    except OSError as error:
        raise OutputError(f"{folder / RESULT} cannot be written: {error.strerror}") from error
    return result


def _run(chosen: RecordedTrial, folder: Path, console: Terminal) -> "Measurement":
    from training.importing import importing

    with importing():
        from training.distributed.process import start_process
        from training.workbench import Workbench
        from training.workbench.scaled import Scaling

        start_process()
    spec = chosen.spec
    bench = Workbench.of(
        chosen.model,
        spec.data,
        spec.direction,
        spec.evaluation,
        folder,
        like=spec.trial,
        day=chosen.day,
    )

    say = console.say

    def on_step(report: "StepReport") -> bool:
        if "train/loss" in report.scores.metrics:
            say(f"step {report.step}: loss {report.scores.metrics['train/loss']:.4f}")
        return False

    say(f"running {chosen.record.id} again")
    bench.prepare(say)
    if chosen.trial is None:
        return bench.run(None, on_step)
    scale = chosen.record.scale
    scaling = Scaling((scale,)) if scale != 1 else None
    found = bench.run(chosen.trial, on_step, save=folder / WEIGHTS, scaling=scaling, save_scale=scale)
    measured = [one.found for one in found.scaled if one.found is not None]
    return measured[0] if measured else found


def print_reproduction(result: Reproduction, console: Terminal) -> None:
    """Tables of rates, of other numbers, and of what differs in the environment."""
    from rich.table import Table
    from rich.text import Text

    for difference in result.environment:
        style = {"critical": "red", "warning": "yellow"}.get(str(difference.severity), "dim")
        said = f" {difference.what}: {difference.recorded} then, {difference.now} now"
        console.say((str(difference.severity), style), said)
    table = Table("metric", "recorded", "now", "", title=f"{result.trial} (95 % Wilson intervals)")
    for rate in result.rates:
        low, high = rate.interval
        verdict = Text("inside") if rate.inside else Text("outside", "red")
        table.add_row(rate.metric, f"{rate.recorded:.3f} [{low:.3f}, {high:.3f}]", _number(rate.now), verdict)
    for scalar in result.scalars:
        difference_ = scalar.relative_difference
        off = "" if difference_ is None else f"{difference_:.2%} off"
        table.add_row(scalar.metric, _number(scalar.recorded), _number(scalar.now), off)
    console.print(table)
    outside = sum(not rate.inside for rate in result.rates)
    said = (
        "every rate is inside its interval" if result.within else f"{outside} of {len(result.rates)} rates are outside"
    )
    console.say(f"{said}; the numbers are in {result.directory / RESULT}")


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
