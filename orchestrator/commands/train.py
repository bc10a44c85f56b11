"""``procon train``: one trial in this process, without a sweep and without Ray."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.commands.train_progress import TrainProgress
from orchestrator.driver.epochs import with_counted_epochs
from orchestrator.driver.fit import check_memory_of_one
from orchestrator.driver.preflight import check_measured
from orchestrator.errors import OutputError
from orchestrator.record.folder import create_output, write_json
from orchestrator.terminal import Terminal
from sweeps.errors import SpecError
from sweeps.schema.spec import SweepSpec
from sweeps.statistics.intervals import Interval, wilson_interval
from training.config import AdapterTuning, ModelConfig, TrialConfig

if TYPE_CHECKING:
    from training.loop.train import StepReport
    from training.workbench import Measurement, Workbench

RESULT = "trial.json"
ADAPTER, MODEL = "adapter", "model"
"""Folders of what was trained, by its form."""


@dataclass(frozen=True)
class Measured:
    """What one model scored."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    """95 % Wilson intervals of the rates."""

    def as_json(self) -> dict[str, Any]:
        """Plain numbers; what is not finite becomes null."""
        return {
            "metrics": {name: value if math.isfinite(value) else None for name, value in self.metrics.items()},
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
        }


@dataclass(frozen=True)
class TrainOutcome:
    """How the trial ended."""

    directory: Path
    model: str
    trial: TrialConfig
    base: Measured | None
    """The untouched model; None where the trial was stopped before it was measured."""
    trained: Measured | None
    """None where the trial was stopped."""
    day: date
    """That its prompts are of, where the chat template prints the date."""
    steps: int
    """Optimizer steps done."""
    seconds: float

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl+C ended it."""
        return self.trained is None

    def as_json(self) -> dict[str, Any]:
        """What ``trial.json`` holds."""
        return {
            "directory": str(self.directory),
            "model": self.model,
            "status": "STOPPED" if self.interrupted else "FINISHED",
            "date": self.day.isoformat(),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "base": self.base.as_json() if self.base else None,
            "trained": self.trained.as_json() if self.trained else None,
            "weights": None if self.interrupted else weights_folder(self.trial),
            "trial": self.trial.model_dump(),
        }


def weights_folder(trial: TrialConfig) -> str:
    """The name of the folder that a training's weights go to: adapters, or under full tuning the whole model."""
    return ADAPTER if isinstance(trial.tuning, AdapterTuning) else MODEL


def chosen_model(spec: SweepSpec, name: str | None) -> ModelConfig:
    """The model called ``name``, or the first.

    Raises:
        SpecError: there is no such model.
    """
    found = next((model for model in spec.models if name in (None, model.name)), None)
    if found is None:
        raise SpecError(
            f"--model ({name!r}) is not in the spec: use one of {', '.join(model.name for model in spec.models)}"
        )
    return found


def train_one(spec: SweepSpec, model_name: str | None, out: str | Path | None, console: Terminal) -> TrainOutcome:
    """Measure the base model, fine-tune it by ``spec.trial``, measure again, and save what was trained.

    Args:
        spec: a validated specification with absolute paths; its ranges are left out.
        model_name: one of its models; None takes the first.
        out: an empty or new folder; None takes ``runs/<name>-train``.
        console: where progress goes.

    Raises:
        SpecError, ClusterError, OutputError, TrainingError: what a person can mend, a diverged training included.
    """
    begin = time.time()
    spec = with_counted_epochs(spec)
    model = chosen_model(spec, model_name)
    check_measured(spec, console.say)
    check_memory_of_one(spec, model)
    directory = create_output(out, f"{spec.name}-train")
    progress = TrainProgress(console, spec.trial)
    base = trained = None
    day = date.today()  # of the whole training, even where it goes on after midnight
    with progress, _stop_on_interrupt(progress.say) as stop:
        try:
            bench = _prepared(spec, model, directory, progress, day)
            base = _measured(bench.run(None, lambda _report: False))
            trained = _measured(_trained(bench, spec.trial, directory, progress, stop))
        except KeyboardInterrupt:
            progress.say(f"stopped after step {progress.step} of {spec.trial.total_steps}; nothing was saved")
    outcome = TrainOutcome(
        directory, model.name, spec.trial, base, trained, day, steps=progress.step, seconds=time.time() - begin
    )
    try:
        write_json(directory / RESULT, outcome.as_json())
    except OSError as error:
        raise OutputError(f"{directory / RESULT} cannot be written: {error.strerror}") from error
    return outcome


def _prepared(spec: SweepSpec, model: ModelConfig, directory: Path, progress: TrainProgress, day: date) -> "Workbench":
    progress.doing("importing torch, transformers and DeepSpeed")
    from training.importing import importing

    with importing():
        from training.distributed.deepspeed_config import BatchSizes
        from training.distributed.process import start_process
        from training.models.throughput import flops_per_token, peak_flops
        from training.workbench import Workbench

        device = start_process()
    trial = spec.trial
    progress.say(str(BatchSizes.derive(trial, 1)))
    bench = Workbench.of(
        model,
        spec.data,
        spec.direction,
        spec.evaluation,
        directory,
        like=trial,
        day=day,
        report=progress.phase,
    )
    bench.notify = progress.doing
    bench.prepare(progress.doing)
    peak = peak_flops(device, trial.precision)
    if peak is not None:
        full = trial.tuning.type == "full"
        progress.utilisation_per_token = flops_per_token(bench.model, trial.max_length / 2, full=full) / peak
    return bench


def _trained(
    bench: "Workbench", trial: TrialConfig, directory: Path, progress: TrainProgress, stop: "_Stop"
) -> "Measurement":
    """The measurement of the trained model, whose weights are saved.

    Raises:
        KeyboardInterrupt: a person asked for the end.
    """
    from training.loop.train import TrialStopped

    def on_step(report: "StepReport") -> bool:
        progress.report(report.step, report.scores.metrics)
        # Between the last step and the measurement there is nothing that a step could end: Ctrl+C acts at once again.
        stop.waits = report.step < trial.total_steps
        return stop.asked

    progress.begin()
    stop.waits = True
    try:
        return bench.run(trial, on_step, save=directory / weights_folder(trial))
    except TrialStopped:
        raise KeyboardInterrupt from None
    finally:
        stop.waits = False


@dataclass
class _Stop:
    """Whether a person asked for the end."""

    asked: bool = False
    waits: bool = False
    """Whether the training notices by itself, after the running steps."""


@contextmanager
def _stop_on_interrupt(say: Callable[[str], None]) -> Iterator[_Stop]:
    """While active, the first Ctrl+C in training lets the running steps end; any other acts at once."""
    stop = _Stop()

    def handle(_signal: int, _frame: object) -> None:
        if stop.asked or not stop.waits:
            raise KeyboardInterrupt
        stop.asked = True
        say("stopping after the running steps; Ctrl+C again stops at once")

    former = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, former)


def _measured(measurement: "Measurement") -> Measured:
    scores = measurement.report
    return Measured(dict(scores.metrics), {name: wilson_interval(*count) for name, count in scores.counts.items()})


def print_train_outcome(outcome: TrainOutcome, console: Terminal) -> None:
    """The table of base against trained, and where everything is."""
    from rich.table import Table

    from orchestrator.driver.progress import duration

    if outcome.base is not None and outcome.trained is not None:
        table = Table(title=f"{outcome.model} after {outcome.steps} steps (95 % Wilson intervals)")
        for column, side in (("metric", "left"), ("base", "right"), ("trained", "right")):
            table.add_column(column, justify=side)  # type: ignore[arg-type]
        for name in outcome.trained.metrics:
            table.add_row(name, _cell(outcome.base, name), _cell(outcome.trained, name))
        console.print(table)
        console.say(f"The trained weights are in {outcome.directory / weights_folder(outcome.trial)}")
    console.say(f"{duration(outcome.seconds)} in all; the numbers are in {outcome.directory / RESULT}")


def _cell(measured: Measured, name: str) -> str:
    values: Mapping[str, float] = measured.metrics
    if name not in values:
        return ""
    interval = measured.intervals.get(name)
    return f"{values[name]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
