"""The driver: from a specification to trials, journal, front, MLflow and report."""

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.cluster import connect, slot_count
from orchestrator.errors import SlotError
from orchestrator.front import build_front
from orchestrator.journal import Journal, read_journal, records
from orchestrator.manifest import manifest
from orchestrator.mirror import Mirror
from orchestrator.output import JOURNAL, SPEC, create_output, write_json
from orchestrator.preflight import check_sweep
from orchestrator.progress import Progress
from orchestrator.records import Status, TrialRecord
from orchestrator.report import ReportFiles, write_report
from orchestrator.tracking import default_tracking_uri
from sweeps.spec import REFERENCES, SweepSpec

BROKER = "broker"


@dataclass(frozen=True)
class Outcome:
    """What a sweep left behind."""

    directory: Path
    front: dict[str, Any]
    records: list[TrialRecord]
    files: ReportFiles
    tracking_uri: str
    experiment_id: str | None
    """MLflow experiment; none when MLflow was never reached."""
    parent_runs: dict[str, str]
    """MLflow run that holds the front, by model."""
    undelivered: int
    """MLflow events that could not be delivered."""
    interrupted: bool
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether no searched trial finished, though the sweep was not interrupted."""
        finished = any(record.status is Status.FINISHED for record in self.records if record.kind == "trial")
        return not finished and not self.interrupted


def run_sweep(spec: SweepSpec, out: str | Path | None, address: str | None, console: Console) -> Outcome:
    """Run the sweep to its end, or until Ctrl+C, and write everything DESIGN.md promises.

    Args:
        spec: a checked specification with absolute paths.
        out: output folder; none takes ``runs/<name>`` or the next free ``runs/<name>-N``.
        address: Ray cluster to join; none starts a local Ray.
        console: where progress is drawn.

    Raises:
        SpecError, TrainingError, OrchestratorError: refused before anything started, or impossible to go on.
    """
    begin = time.time()
    base = Path(out).absolute().parent if out is not None else Path("runs").absolute()
    tracking_uri, artifacts = default_tracking_uri(base / "out")
    depths = check_sweep(spec, tracking_uri)
    directory = create_output(out, spec.name)
    facts = manifest(spec)
    write_json(directory / SPEC, {"spec": spec.model_dump(mode="json"), "manifest": facts})
    journal = Journal(directory / JOURNAL)
    journal.append("sweep_started", spec=spec.model_dump(mode="json"), manifest=facts)
    total = len(spec.models) * (len(REFERENCES) + spec.trials)
    mirror = Mirror(spec, tracking_uri, artifacts, journal, facts)
    with Progress(console, spec.name, total, spec.objectives) as progress:
        progress.say(f"sweep {spec.name}: {total} trials into {directory}")
        interrupted = _search(spec, depths, directory, address, journal, progress, mirror)
    journal.append("sweep_ended", interrupted=interrupted)
    found = records(read_journal(directory / JOURNAL))
    front = build_front(spec.objectives, spec.feasible, found)
    files = write_report(directory, spec.name, front, found)
    status = Status.STOPPED if interrupted else Status.FINISHED
    undelivered = mirror.finish(front, files, status)
    journal.close()
    return Outcome(
        directory=directory,
        front=front,
        records=found,
        files=files,
        tracking_uri=tracking_uri,
        experiment_id=mirror.experiment_id,
        parent_runs=mirror.parent_runs,
        undelivered=undelivered,
        interrupted=interrupted,
        seconds=time.time() - begin,
    )


def _search(
    spec: SweepSpec,
    depths: dict[str, int],
    directory: Path,
    address: str | None,
    journal: Journal,
    progress: Progress,
    mirror: Mirror,
) -> bool:
    """Start Ray and the slots, prepare the embedded models meanwhile, run every trial; true when interrupted."""
    import ray

    from orchestrator.broker import Broker
    from orchestrator.slot import Slots

    namespace = f"procon-{uuid.uuid4().hex[:12]}"
    progress.phase("starting Ray" if address is None else f"joining Ray at {address}")
    connect(address, namespace, gpus=spec.resources.gpus_per_worker > 0)
    try:
        jobs = len(spec.models) * (len(REFERENCES) + spec.trials)
        count = slot_count(spec.resources, jobs)
        progress.slots(count)
        broker = ray.remote(num_cpus=0)(Broker).options(name=BROKER, max_concurrency=1000).remote(count)
        slots = Slots(broker, BROKER, namespace, spec, directory, count)
        progress.phase(f"starting {count} warm slot{'s' if count > 1 else ''}")
        slots.start()
        _build_embedded(spec, progress)
        progress.phase("waiting for the first slot")
        interrupted = _tune(spec, depths, directory, journal, progress, mirror, broker, namespace, count)
        slots.close()
        if slots.errors:
            progress.say("\n".join(slots.errors.values()))
        return interrupted
    finally:
        ray.shutdown()


def _build_embedded(spec: SweepSpec, progress: Progress) -> None:
    """Build embedded models that the cache lacks, here and now, while the slots' processes come up."""
    for model in spec.models:
        if model.embedded:
            from training.organism.cache import ensure_organism

            def tell(stage: str, done: float, name: str = model.name) -> None:
                progress.phase(f"building {name}: {stage}", done)

            ensure_organism(model, spec.data, tell)


def _tune(
    spec: SweepSpec,
    depths: dict[str, int],
    directory: Path,
    journal: Journal,
    progress: Progress,
    mirror: Mirror,
    broker: Any,
    namespace: str,
    slots: int,
) -> bool:
    import ray
    from ray import tune

    from orchestrator.recorder import Recorder
    from orchestrator.searcher import FrontSearcher
    from orchestrator.trial import tune_trial

    searcher = FrontSearcher(spec, depths, {"broker": BROKER, "namespace": namespace})

    def take_answers(job_id: str) -> list[dict[str, Any]]:
        return list(ray.get(broker.take_answers.remote(job_id)))

    recorder = Recorder(journal, searcher, take_answers, directory / "answers", [progress.on_event, mirror.on_event])
    tuner = tune.Tuner(
        # CPU 0 alone is refused by Ray, and any fraction of a CPU could keep a slot's worker from fitting.
        tune.with_resources(tune_trial, {"CPU": 0, "memory": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=searcher.total,
            max_concurrent_trials=slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(directory / "ray"), verbose=0, callbacks=[recorder]),
    )

    def stop() -> None:
        progress.say("stopping: running trials end at their next report, then the report is written")
        searcher.stop()
        broker.cancel_all.remote()

    with _interruptible(stop) as interrupted:
        tuner.fit()
    recorder.close()
    if not interrupted.is_set() and not searcher.proposals:
        raise SlotError("no trial was started; the messages above say why")
    return interrupted.is_set()


@contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """The first Ctrl+C (or SIGTERM) calls ``stop``; a second one interrupts at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def handle(number: int, frame: Any) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        threading.Thread(target=stop, daemon=True).start()  # Ray must not be called from within a signal handler

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
