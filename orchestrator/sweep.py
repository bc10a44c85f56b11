"""The driver: from a specification to trials, journal, front, MLflow and report."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.answers import AnswerFolder
from orchestrator.cluster import connect, slot_count
from orchestrator.disk import once_there_is_room
from orchestrator.figures import store_sweep
from orchestrator.front import build_front
from orchestrator.journal import Journal, models_given_up, read_journal, records
from orchestrator.measured import max_running
from orchestrator.mirror import Mirror
from orchestrator.output import ANSWERS
from orchestrator.progress import Progress
from orchestrator.records import Status, TrialRecord
from orchestrator.report import ReportFiles, write_report
from orchestrator.screen import sayer
from orchestrator.search_run import run_search
from orchestrator.session import Session
from sweeps.spec import REFERENCES, SweepSpec

if TYPE_CHECKING:
    from orchestrator.slot import Slots

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
    stopped: str | None
    """Why the sweep ended before all was done; none where all was."""
    seconds: float
    given_up: dict[str, str]
    """Why a model's trials were not run, by model: it could not be prepared."""

    @property
    def failed(self) -> bool:
        """Whether a model was given up or no searched trial finished, though nobody and no budget stopped the sweep."""
        finished = any(record.status is Status.FINISHED for record in self.records if record.kind == "trial")
        return (not finished or bool(self.given_up)) and not self.stopped


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
    return drive(Session.new(spec, out, address, sayer(console)), address, console)


def drive(
    session: Session, address: str | None, console: Console, make_slots: Callable[..., "Slots"] | None = None
) -> Outcome:
    """Run what a sweep's session has left to do, then report; the session is closed whatever happens.

    Args:
        session: a new or reopened sweep.
        address: Ray cluster to join; none starts a local Ray.
        console: where progress is drawn.
        make_slots: what runs the trials, called like :class:`~orchestrator.slot.Slots`, which is the default;
            benchmarks of the orchestration alone put slots here that train nothing.

    Raises:
        TrainingError, OrchestratorError: it is impossible to go on; what ended is kept, and the sweep can be resumed.
    """
    spec, directory, journal = session.spec, session.directory, session.journal
    mirror = Mirror(spec, session.tracking_uri, session.artifacts, journal, session.manifest, session.runs)
    try:
        for event in session.before:  # MLflow may have missed the last of it; what it has it is not given twice
            mirror.on_event(event)
        total = len(spec.models) * (len(REFERENCES) + spec.trials)
        with Progress(console, spec.name, total, spec.objectives, session.known, mirror.trouble) as progress:
            journal.on_full = progress.warn
            progress.say(f"sweep {spec.name}: {total} trials into {directory}")
            stopped = _search(session, address, progress, mirror, make_slots)
        journal.append("sweep_ended", interrupted=stopped is not None, reason=stopped)
        reporting = time.time()
        events = read_journal(journal.path)
        found = records(events)
        answers = AnswerFolder(directory / ANSWERS)
        front = build_front(spec.objectives, spec.feasible, found, answers=answers, spec=spec)
        files = once_there_is_room(
            lambda: write_report(directory, spec.name, front, found), directory, lambda text: console.print(text or "")
        )
        undelivered = mirror.finish(front, files, Status.STOPPED if stopped else Status.FINISHED)
        if make_slots is None:  # else nothing was trained, and the figures would be no sweep's
            store_sweep(spec, directory, events, time.time() - reporting, max_running(events))
    finally:
        session.close()
    return Outcome(
        directory=directory,
        front=front,
        records=found,
        files=files,
        tracking_uri=session.tracking_uri,
        experiment_id=mirror.experiment_id,
        parent_runs=mirror.parent_runs,
        undelivered=undelivered,
        stopped=stopped,
        seconds=time.time() - session.began,
        given_up=models_given_up(events),
    )


def _search(
    session: Session,
    address: str | None,
    progress: Progress,
    mirror: Mirror,
    make_slots: Callable[..., "Slots"] | None,
) -> str | None:
    """Start Ray and the slots, prepare the embedded models meanwhile, run every trial; why it stopped early, if so."""
    import ray

    from orchestrator.broker import Broker
    from orchestrator.searcher import FrontSearcher
    from orchestrator.slot import Slots

    spec = session.spec
    namespace = f"procon-{uuid.uuid4().hex[:12]}"
    broker_address = {"broker": BROKER, "namespace": namespace}
    searcher = FrontSearcher(spec, session.depths, broker_address, session.known, progress.say)
    if searcher.exhausted:
        return None
    progress.phase("starting Ray" if address is None else f"joining Ray at {address}")
    connect(address, namespace, gpus=spec.resources.gpus_per_worker > 0)
    try:
        count = slot_count(spec.resources, len(spec.models) * (len(REFERENCES) + spec.trials))
        progress.slots(count)
        broker = ray.remote(num_cpus=0)(Broker).options(name=BROKER, max_concurrency=1000).remote(count)
        slots = (make_slots or Slots)(
            broker, BROKER, namespace, spec, session.directory, count, session.manifest["date"]
        )
        progress.phase(f"starting {count} warm slot{'s' if count > 1 else ''}")
        slots.start()
        _build_embedded(spec, progress, journal=session.journal)
        progress.phase("waiting for the first slot")
        stopped = run_search(session, searcher, progress, mirror, broker, count)
        slots.close()
        if slots.errors:
            progress.say("\n".join(slots.errors.values()))
        return stopped
    finally:
        ray.shutdown()


def _build_embedded(spec: SweepSpec, progress: Progress, journal: Journal) -> None:
    """Build embedded models that the cache lacks, here and now, while the slots' processes come up."""
    for model in spec.models:
        if model.embedded:
            from training.organism.cache import ensure_organism, organism_directory

            def tell(stage: str, done: float, name: str = model.name) -> None:
                progress.phase(f"building {name}: {stage}", done)

            begin, there = time.time(), organism_directory(model, spec.data).is_dir()
            ensure_organism(model, spec.data, tell)
            if not there:
                journal.append("model_built", model=model.name, seconds=time.time() - begin)
