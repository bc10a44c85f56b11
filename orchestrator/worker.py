"""The train loop of a warm slot: takes jobs one after another, with weights, data and references staying loaded."""

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.broker import CLOSE, Job, Update

if TYPE_CHECKING:
    from training.workbench import Workbench

IDLE_SECONDS = 20.0
"""How long an idle slot waits for a job before it tells its other ranks that it is still there."""


def slot_loop(setup: dict[str, Any]) -> None:
    """Serve jobs until the broker closes; runs on every rank of the slot's Ray Train worker group.

    Args:
        setup: ``slot`` (index), ``broker`` and ``namespace`` of the broker actor, ``directory`` of the sweep, and the
            dumped ``data``, ``direction`` and ``evaluation`` configurations, and the ``precision`` of trials.
    """
    import ray
    import ray.train

    from training.engine import start_process

    start_process()
    rank = ray.train.get_context().get_world_rank()
    broker = ray.get_actor(setup["broker"], namespace=setup["namespace"]) if rank == 0 else None
    if broker is not None:
        ray.get(broker.slot_started.remote(setup["slot"]))
    benches = _Benches(setup)
    while True:
        job = ray.get(broker.next_job.remote(setup["slot"], IDLE_SECONDS)) if broker is not None else None
        job = _broadcast(job)
        if job == CLOSE:
            return
        if isinstance(job, Job):
            _serve(job, benches, broker, setup["slot"])


def _broadcast(job: Job | str | None) -> Job | str | None:
    """Rank 0's job, on every rank."""
    from torch import distributed

    from training.engine import world_size

    if world_size() == 1:
        return job
    box = [job]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


class _Benches:
    """The one workbench that is loaded, exchanged when a job needs another model."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._setup = setup
        self._loaded: tuple[dict[str, Any], Workbench] | None = None

    def for_model(self, model: dict[str, Any]) -> "Workbench":
        from training.config import DataConfig, DirectionConfig, EvaluationConfig, ModelConfig
        from training.organism.cache import ensure_organism
        from training.workbench import Workbench

        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # frees the former model before the next one is loaded
            config = ModelConfig.model_validate(model)
            data = DataConfig.model_validate(self._setup["data"])
            path = str(ensure_organism(config, data)) if config.embedded else config.path
            bench = Workbench(
                path,
                data,
                DirectionConfig.model_validate(self._setup["direction"]),
                EvaluationConfig.model_validate(self._setup["evaluation"]),
                Path(self._setup["directory"]),
                name=config.name,
                precision=self._setup["precision"],
            )
            self._loaded = (model, bench)
        return self._loaded[1]


def _serve(job: Job, benches: _Benches, broker: Any, slot: int) -> None:
    """Run one job and report how it ended; what one trial does wrong never ends the slot."""
    import ray

    from training.config import TrialConfig
    from training.engine import world_size
    from training.errors import TrainingError
    from training.loop import StepReport, TrialStopped

    def say(update: Update, answers: list[dict[str, Any]] | None = None) -> bool:
        return bool(ray.get(broker.report.remote(slot, job.id, update, answers))) if broker is not None else False

    def on_step(report: StepReport) -> bool:
        return say(Update("step", step=report.step, metrics=report.metrics))

    try:
        bench = benches.for_model(job.model)
        trial = TrialConfig.model_validate(job.trial) if job.trial is not None else None
        measurement = bench.run(trial, on_step)
        steps = trial.total_steps if trial is not None else 0
        say(Update("measured", steps, measurement.metrics, measurement.counts), measurement.answers)
    except TrialStopped as stopped:
        say(Update("stopped", step=stopped.step))
    except TrainingError as error:  # raised alike on every rank
        say(Update("failed", error=str(error)))
    except Exception:
        say(Update("failed", error=traceback.format_exc(limit=-6)))
        if world_size() > 1:
            raise  # the other ranks may be waiting in a collective: only a restarted group is sound again
