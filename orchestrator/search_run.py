"""One search from its first proposal to its last trial: Ray Tune, what listens to it, and what stops it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SlotError
from orchestrator.keeping import Keeper
from orchestrator.mirror import Mirror
from orchestrator.output import ANSWERS, CHECKPOINTS, INTERRUPTED
from orchestrator.progress import Progress
from orchestrator.session import Session
from orchestrator.watch import Watch
from sweeps.budget import Budget

if TYPE_CHECKING:
    from orchestrator.searcher import FrontSearcher

ACTOR_RESTARTS = 3
"""How often a killed Tune actor is started again; its trial goes on in its slot meanwhile."""


def run_search(
    session: Session, searcher: "FrontSearcher", progress: Progress, mirror: Mirror, broker: Any, slots: int
) -> str | None:
    """Let Ray Tune run what the searcher proposes, until it has nothing left or something stops it.

    Args:
        session: the sweep, whose journal takes every event.
        searcher: says what comes next.
        progress: told of every event.
        mirror: likewise.
        broker: the actor between trials and slots.
        slots: trials that run at once.

    Returns:
        why it ended before all was done; none where all was.

    Raises:
        SlotError: no trial could be started.
    """
    import ray
    from ray import tune

    from orchestrator.recorder import Recorder
    from orchestrator.scheduler import DominanceScheduler
    from orchestrator.trial import tune_trial

    spec, directory = session.spec, session.directory
    stopped: list[str] = []

    def take_answers(job_id: str) -> list[dict[str, Any]]:
        return list(ray.get(broker.take_answers.remote(job_id)))

    def stop(reason: str) -> None:
        if not stopped:
            stopped.append(reason)
            progress.say(f"stopping ({reason}): running trials end at their next report, then the report is written")
            searcher.stop()
            broker.cancel_all.remote()

    def look() -> None:
        for sentence in ray.get(broker.take_notes.remote()):
            session.journal.append("note", text=sentence)
            progress.say(f"note: {sentence}")
        if searcher.exhausted:
            broker.drain.remote(len(searcher.proposals))

    budget = Budget(spec.budget, spec.resources)

    def spent() -> str | None:
        return budget.exceeded(session.seconds_before + time.time() - session.began, slots)

    keeper = Keeper(directory / CHECKPOINTS, spec, session.known)
    listeners = [progress.on_event, mirror.on_event, keeper.on_event]
    recorder = Recorder(session.journal, searcher, take_answers, directory / ANSWERS, listeners)
    tuner = tune.Tuner(
        # CPU 0 alone is refused by Ray, and any fraction of a CPU could keep a slot's worker from fitting.
        tune.with_resources(tune_trial, {"CPU": 0, "memory": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=DominanceScheduler(spec, searcher, broker, session.known, slots),
            num_samples=-1,  # the searcher says when it is done
            max_concurrent_trials=slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{time.time_ns()}",
            storage_path=str(directory / "ray"),
            verbose=0,
            callbacks=[recorder],
            failure_config=tune.FailureConfig(max_failures=ACTOR_RESTARTS),
        ),
    )
    with _interruptible(lambda: stop(INTERRUPTED)), Watch(directory, spent, look, stop):
        tuner.fit()
    recorder.close()
    if not stopped:
        keeper.settle()
    if not stopped and not searcher.proposals:
        raise SlotError("no trial was started; the messages above say why")
    return stopped[0] if stopped else None


@contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl+C (or SIGTERM) calls ``stop``; a second one interrupts at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        threading.Thread(target=stop, daemon=True).start()  # Ray must not be called from within a signal handler

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
