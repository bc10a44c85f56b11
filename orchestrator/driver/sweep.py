"""The driver: from a specification to trials, journal, front, MLflow and report."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.driver.baselines import baselines_in_words, find_baselines
from orchestrator.driver.fit import check_memory_on_cluster
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.mirror import Mirror
from orchestrator.driver.progress import Progress
from orchestrator.driver.ray_watch import SILENT_JOINED, SILENT_LOCAL, RayWatch
from orchestrator.driver.remarks import remarks
from orchestrator.driver.resume_command import resume_command
from orchestrator.driver.search_run import SearchRun
from orchestrator.driver.session import Session
from orchestrator.front.document import build_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.answers import AnswerFolder
from orchestrator.record.clock import now
from orchestrator.record.disk import once_there_is_room
from orchestrator.record.folder import ANSWERS, INTERRUPTED, named
from orchestrator.record.journal import Journal
from orchestrator.record.labels import labels_or_warning
from orchestrator.record.separations import separations_of
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.timings import store_sweep
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.report.files import ReportFiles, write_report
from orchestrator.slots.cluster import Room, connect, living_nodes, ray_addresses, room_for
from orchestrator.slots.shared_storage import SharedStorage, local_inputs
from orchestrator.terminal import Terminal
from sweeps.cost.cost import planned
from sweeps.schema.spec import SweepSpec
from training.models.located import local_directory, model_path
from training.storage.address import bucket_environment

if TYPE_CHECKING:
    from orchestrator.search.searcher import FrontSearcher
    from orchestrator.slots.slot import Slots

BROKER = "broker"
BROKER_LOG = "ray/broker.jsonl"
"""Below the sweep's folder: what the broker knows, for as long as the driver lives."""
LAST_SECONDS = 20.0
"""How long MLflow may take for the end of a sweep whose Ray is gone: Ray ends its driver after a minute."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep left behind."""

    directory: Path
    front: FrontDocument
    records: list[TrialRecord]
    files: ReportFiles
    tracking_uri: str
    experiment_id: str | None
    """MLflow experiment; None when MLflow was never reached."""
    parent_runs: dict[str, str]
    """MLflow run that holds the front, by model."""
    undelivered: int
    """MLflow events that could not be delivered."""
    stopped: str | None
    """Why the sweep ended before all was done; None where all was."""
    seconds: float
    """Of this driver; none where nothing was left to be done."""
    seconds_before: float = 0.0
    """Of earlier drivers of the same sweep."""
    address: str | None = None
    """Ray cluster that was joined; None was a local Ray."""
    given_up: dict[str, str] = field(default_factory=dict)
    """Why a model's trials were not run, by model: it could not be prepared."""

    @property
    def failed(self) -> bool:
        """Whether a model was given up or no searched trial finished, though nobody and no budget stopped the sweep."""
        finished = any(record.status is Status.FINISHED for record in self.records if record.kind == "trial")
        return (not finished or bool(self.given_up)) and not self.stopped


def run_sweep(
    spec: SweepSpec, out: str | Path | None, address: str | None, console: Terminal, *, fresh: bool = False
) -> Outcome:
    """Run the sweep to its end, or until Ctrl+C, and write everything DESIGN.md promises.

    Args:
        spec: a checked specification with absolute paths.
        out: output folder; None takes ``runs/<name>`` or the next free ``runs/<name>-N``.
        address: Ray cluster to join; None starts a local Ray.
        console: where progress is drawn.
        fresh: references are measured though an earlier sweep did.

    Raises:
        SpecError, TrainingError, OrchestratorError: refused before anything started, or impossible to go on.
    """
    return drive(Session.new(spec, out, address, console.say, fresh=fresh), address, console)


def drive(
    session: Session, address: str | None, console: Terminal, make_slots: Callable[..., "Slots"] | None = None
) -> Outcome:
    """Run what a sweep's session has left to do, then report; the session is closed whatever happens.

    Args:
        session: a new or reopened sweep.
        address: Ray cluster to join; None starts a local Ray.
        console: where progress is drawn.
        make_slots: what runs the trials, called like :class:`~orchestrator.slots.slot.Slots`, which is the default;
            benchmarks of the orchestration alone put slots here that train nothing.

    Raises:
        TrainingError, OrchestratorError: it is impossible to go on; what ended is kept, and the sweep can be resumed.
    """
    spec = session.spec
    mirrors: list[Mirror] = []
    stopped: str | None
    try:
        with (
            Interruption() as interruption,
            Progress(console, spec, session.state, lambda: _trouble(mirrors)) as progress,
        ):
            try:
                stopped = _search(session, address, progress, interruption, mirrors, make_slots)
            except KeyboardInterrupt:
                if not session.opened:
                    progress.say("interrupted before anything was started; nothing is left behind")
                if not mirrors:
                    raise
                stopped = INTERRUPTED
            progress.phase("writing the report")
        return _reported(session, mirrors[0], stopped, address, console, keep_figures=make_slots is None)
    except BaseException as error:
        _told(session, mirrors, error, console.say)
        raise
    finally:
        session.close()


def _reported(
    session: Session, mirror: Mirror, stopped: str | None, address: str | None, console: Terminal, *, keep_figures: bool
) -> Outcome:
    """What the sweep left behind, once its end is in the journal, in the report and in MLflow.

    Its figures are kept for later plans, unless nothing was trained or left to be trained.
    """
    spec, directory, journal = session.spec, session.directory, session.journal
    if not session.quiet:
        journal.append("sweep_ended", interrupted=stopped is not None, reason=stopped)
    reporting = now()
    found = session.state.records()
    if session.stored is not None:
        session.stored.fetch_directions()
    front = build_front(
        spec.objectives,
        spec.feasible,
        found,
        answers=AnswerFolder(directory / ANSWERS),
        spec=spec,
        separations=separations_of(directory, spec),
        labels=labels_or_warning(directory),
    )
    files = once_there_is_room(
        lambda: write_report(directory, spec.name, front, found, session.manifest),
        directory,
        lambda text: console.say(text or ""),
    )
    undelivered = mirror.finish(front, files, found, stopped is not None)
    if keep_figures and not session.quiet:
        store_sweep(spec, directory, session.state, now() - reporting)
    if session.stored is not None:
        session.trouble = lambda text: console.say(text or "the store is back")
        session.stored.deliver(console.say)
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
        seconds=0.0 if session.quiet else now() - session.began,
        seconds_before=session.seconds_before,
        address=address,
        given_up=dict(session.state.given_up),
    )


def _told(session: Session, mirrors: list[Mirror], error: BaseException, say: Callable[[str], None]) -> None:
    """An end that was not meant to be, told like any other, so that nobody waits for a driver that is gone."""
    if not session.opened:
        return
    interrupted = isinstance(error, KeyboardInterrupt)
    said = next(iter(str(error).strip().splitlines()), "")
    reason = INTERRUPTED if interrupted else f"failed: {said or type(error).__name__}"
    if not session.quiet:
        session.journal.append("sweep_ended", interrupted=True, reason=reason)
    for mirror in mirrors:
        mirror.abandon(Status.STOPPED if interrupted else Status.FAILED, reason)
    if session.stored is not None:
        session.stored.deliver(say, LAST_SECONDS)


def _trouble(mirrors: list[Mirror]) -> str | None:
    return mirrors[0].trouble() if mirrors else None


def _search(
    session: Session,
    address: str | None,
    progress: Progress,
    interruption: Interruption,
    mirrors: list[Mirror],
    make_slots: Callable[..., "Slots"] | None,
) -> str | None:
    """Start Ray, open the sweep once nothing can be refused any more, run every trial; why it stopped early, if so.

    Args:
        session: opened here.
        address: Ray cluster to join; None starts a local Ray.
        progress: told what is going on.
        interruption: what signals do.
        mirrors: takes the sweep's mirror as soon as there is one.
        make_slots: see :func:`drive`.
    """
    import ray

    from orchestrator.search.searcher import FrontSearcher

    spec = session.spec
    found = [] if session.fresh or not session.first else find_baselines(spec, session.manifest)
    known = [*session.known, *(record for one in found for record in SweepState.of(one.events).records())]
    namespace = f"procon-{uuid.uuid4().hex[:12]}"
    broker_address = {"broker": BROKER, "namespace": namespace}
    kept = session.keeps_fork if session.in_folder else None
    searcher = FrontSearcher(spec, session.depths, broker_address, known, progress.say, session.manifest["date"], kept)
    if searcher.exhausted:
        session.open(quietly=session.complete)
        _mirror(session, progress, mirrors)
        progress.say("nothing is left to run: the report is written anew, and MLflow gets what it has missed")
        return None
    progress.phase("starting Ray" if address is None else f"joining Ray at {address}")
    try:
        connect(address, namespace, gpus=spec.resources.gpus_per_worker > 0)
        interruption.again()
        if address is not None:  # of this machine it was asked before
            check_memory_on_cluster(spec, living_nodes())
        room = room_for(spec.resources, planned(spec), joined=address is not None)
        storage = None
        if address is not None:
            keys = bucket_environment() if isinstance(session.destination, str) else {}
            storage = SharedStorage(session.destination, local_inputs(spec), keys)
        if storage is not None:
            progress.phase("asking every node what it sees of the sweep's files")
            storage.check()
        session.open()
        session.reuse(found)
        for sentence in baselines_in_words(found):
            progress.say(sentence)
        if session.first:
            for sentence in searcher.said:
                session.journal.append("note", text=sentence)
        mirror = _mirror(session, progress, mirrors)
        return _with_slots(session, searcher, progress, interruption, mirror, room, make_slots, address, storage)
    finally:
        ray.shutdown()


def _mirror(session: Session, progress: Progress, mirrors: list[Mirror]) -> Mirror:
    """The mirror of an opened sweep, to which what earlier drivers recorded has been passed on."""
    spec, journal = session.spec, session.journal
    progress.say(f"sweep {spec.name}: {planned(spec)} trials into {named(session.directory)}")
    if session.stored is not None:
        progress.say(f"what it writes is in {session.directory} first, and in the bucket some seconds later")
        for sentence in session.stored.said if session.first else ():
            progress.say(sentence)
    for remark in remarks(spec):
        progress.say(remark)
    mirror = Mirror(session)
    mirrors.append(mirror)
    mirror.replay(session.events)  # MLflow may have missed the last of it; what it has it is not given twice
    journal.on_full = progress.warn
    session.trouble = lambda sentence: progress.warn(sentence or f"{named(session.directory)} answers again")
    return mirror


def _with_slots(
    session: Session,
    searcher: "FrontSearcher",
    progress: Progress,
    interruption: Interruption,
    mirror: Mirror,
    room: Room,
    make_slots: Callable[..., "Slots"] | None,
    address: str | None,
    storage: SharedStorage | None,
) -> str | None:
    """Start the slots, prepare the embedded models meanwhile, run every trial; why it stopped early, if so."""
    from orchestrator.slots.broker import start_broker
    from orchestrator.slots.slot import Slots

    spec = session.spec
    log = session.directory / BROKER_LOG
    log.unlink(missing_ok=True)  # of a driver that was killed
    broker = start_broker(BROKER, room.slots, spec.resources.slot_timeout, spec.resources.stall_timeout, log)
    day = date.fromisoformat(session.manifest["date"])
    slots = (make_slots or Slots)(broker, BROKER, searcher.namespace, spec, session.directory, room.slots, day)
    if session.stored is not None:
        slots.address = session.stored.address
    if storage is not None:
        slots.sight = storage.sight()
    ray_watch = RayWatch(ray_addresses(), SILENT_LOCAL if address is None else SILENT_JOINED)
    search = SearchRun(session, searcher, progress, storage, mirror, broker, slots, room, ray_watch)

    def tell(why: str) -> None:
        search.close()
        _tell_lost(session, mirror, progress, f"Ray is gone: {why}", address)

    with ray_watch.watched(tell):
        progress.phase(f"starting {room.slots} warm slot{'s' if room.slots > 1 else ''}")
        slots.start()
        _build_embedded(spec, progress, journal=session.journal)
        progress.phase("waiting for the first slot")
        stopped = search.run(interruption)
        slots.close()
        if storage is not None:
            storage.close()
    log.unlink(missing_ok=True)
    return stopped


def _tell_lost(session: Session, mirror: Mirror, progress: Progress, reason: str, address: str | None) -> None:
    """The end of a sweep whose Ray is gone, in the journal, on the screen and in MLflow; the process ends after it."""
    session.journal.append("sweep_ended", interrupted=True, reason=reason)
    progress.say(
        f"{reason}; trials under way go on from their checkpoints with: {resume_command(session.directory, address)}"
    )
    progress.__exit__(None, None, None)
    mirror.abandon(Status.STOPPED, reason, LAST_SECONDS)
    if session.stored is not None:
        session.stored.deliver(progress.say, LAST_SECONDS)
    session.close()


def _build_embedded(spec: SweepSpec, progress: Progress, journal: Journal) -> None:
    """Build embedded models that the cache lacks, here and now, while the slots' processes come up."""
    for model in spec.models:
        if model.embedded:

            def tell(stage: str, done: float, name: str = model.name) -> None:
                progress.phase(f"building {name}: {stage}", done)

            begin, there = now(), local_directory(model, spec.data) is not None
            model_path(model, spec.data, tell)
            if not there:
                journal.append("model_built", model=model.name, seconds=now() - begin)
