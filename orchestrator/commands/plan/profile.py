"""``procon plan --profile``: a few real steps and one real measurement, without Ray."""

import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.record.timings import Stored, store_figures
from orchestrator.terminal import Terminal
from sweeps.cost.cost import Figures
from sweeps.errors import SpecError
from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig, TrialConfig

if TYPE_CHECKING:
    from training.loop.train import StepReport

STEPS = 12
WARM_UP = 4
"""Steps that are not timed: the first ones also allocate, compile and load."""


def profiler(spec: SweepSpec, console: Terminal) -> Callable[[ModelConfig], Stored]:
    """Measures models of ``spec`` for :func:`orchestrator.commands.plan.estimate.make_plan`."""
    return lambda model: Stored(profile(spec, model, console), "measured now")


def profile(spec: SweepSpec, model: ModelConfig, console: Terminal) -> Figures:
    """Measure ``model`` on this machine, in this process, and keep the figures for later plans.

    One process stands for all workers of a trial, with the share of the batch that one of them has: what they tell each
    other is not timed. An embedded model is built first where the cache lacks it.

    Args:
        spec: a checked specification.
        model: one of its models.
        console: where progress goes.

    Raises:
        SpecError: a trial has a single step, which cannot be told from start-up.
        TrainingError: what a trial would raise.
    """
    from training.distributed.process import start_process
    from training.loop.train import TrialStopped
    from training.workbench import Workbench

    start_process()
    console.say(f"profiling {model.name}: {STEPS} steps and one measurement")
    trial = _share_of_one_worker(spec)
    if trial.total_steps < 2:
        raise SpecError(f"trial.steps ({spec.trial.steps}) is too few to time: --profile needs at least 2")
    times: list[float] = []

    def on_step(report: "StepReport") -> bool:
        times.append(time.perf_counter())
        return report.step >= STEPS  # ends the training before it is measured: the base model is measured instead

    with tempfile.TemporaryDirectory(prefix="procon-profile-") as scratch:
        bench = Workbench.of(
            model,
            spec.data,
            spec.direction,
            spec.evaluation,
            Path(scratch),
            like=spec.trial,
            day=date.today(),
        )
        begin = time.perf_counter()
        bench.prepare()
        prepared = time.perf_counter()
        bench.run(None, lambda _report: False)
        measured = time.perf_counter()
        with contextlib.suppress(TrialStopped):
            bench.run(trial, on_step)
    timed = times[min(WARM_UP, len(times) - 2) :]
    gaps = [after - before for before, after in itertools.pairwise(timed)]
    per_step = statistics.median(gaps)
    # Before the first step a trial sets its engine up, and the first one computes the references that all share.
    figures = Figures(
        seconds_per_step=per_step,
        seconds_beside=measured - prepared,
        seconds_once=prepared - begin + max(0.0, times[0] - measured - per_step),
        seconds_measuring=measured - prepared,
    )
    store_figures(spec, model, figures)
    return figures


def _share_of_one_worker(spec: SweepSpec) -> TrialConfig:
    """The trial with what one worker does of every step, reported step by step."""
    workers = spec.resources.workers
    share = max(1, spec.trial.batch_size // workers)
    micro = min(share, spec.trial.micro_batch_size or share)
    return spec.trial.model_copy(update={"batch_size": share, "micro_batch_size": micro, "log_every": 1})
