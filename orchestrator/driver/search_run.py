"""One search from its first proposal to its last trial: Ray Tune, what listens to it, and what stops it."""

import time
from typing import TYPE_CHECKING, Any

from orchestrator.driver.checkpoints import Keeper
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.mirror import Mirror
from orchestrator.driver.progress import Progress
from orchestrator.driver.session import Session
from orchestrator.driver.watch import Watch
from orchestrator.errors import SlotError
from orchestrator.record.folder import ANSWERS, CHECKPOINTS, INTERRUPTED, RAY_IS_GONE
from orchestrator.record.trials import Status
from orchestrator.slots.cluster import answers_at
from sweeps.schema.budget import Budget

if TYPE_CHECKING:
    from orchestrator.search.searcher import FrontSearcher

ANSWER_SECONDS = 15.0
"""How long the broker, which does nothing but answer, may be silent before we look whether Ray is there at all."""
STUCK_SECONDS = 10.0
"""How long the main thread, which may be stuck in a Ray that is gone, has to come back before the end is told without
it: after a minute Ray ends the process."""
ACTOR_RESTARTS = 3
"""How often a killed Tune actor is started again; its trial goes on in its slot meanwhile."""


def run_search(
    session: Session,
    searcher: "FrontSearcher",
    progress: Progress,
    mirror: Mirror,
    broker: Any,
    slots: int,
    interruption: Interruption,
) -> str | None:
    """Let Ray Tune run what the searcher proposes, until it has nothing left or something stops it.

    Args:
        session: the sweep, whose journal takes every event.
        searcher: says what comes next.
        progress: told of every event.
        mirror: likewise.
        broker: the actor between trials and slots.
        slots: trials that run at once.
        interruption: what signals do.

    Returns:
        why it ended before all was done; none where all was.

    Raises:
        SlotError: no trial could be started.
    """
    import ray
    from ray import tune

    from orchestrator.driver.recorder import Recorder
    from orchestrator.search.scheduler import DominanceScheduler
    from orchestrator.slots.tune_trial import tune_trial

    spec, directory = session.spec, session.directory
    gcs = ray.get_runtime_context().gcs_address
    stopped: list[str] = []
    gone: list[str] = []  # what Ray answered when it was no longer there
    over: list[bool] = []

    def take_answers(job_id: str) -> list[dict[str, Any]]:
        return list(ray.get(broker.take_answers.remote(job_id)))

    def stop(reason: str) -> None:
        if not stopped:
            stopped.append(reason)
            progress.say(f"stopping ({reason}): running trials end at their next report, then the report is written")
            searcher.stop()
            asked(broker.cancel_all)

    def asked(method: Any) -> Any:
        """What the broker answers; where it does not, Ray is gone, and nothing is left to wait for."""
        try:
            return ray.get(method.remote(), timeout=ANSWER_SECONDS)
        except Exception as error:  # Ray has no one exception for its own end
            busy = isinstance(error, ray.exceptions.GetTimeoutError) and answers_at(gcs)
            if gone or over or busy:
                return None
            gone.append(f"{type(error).__name__}: {error}")
            searcher.stop()
            interruption.at_once()
            time.sleep(STUCK_SECONDS)
            if not over:
                recorder.close()
                reason = stopped[0] if stopped else RAY_IS_GONE
                session.journal.append("sweep_ended", interrupted=True, reason=reason)
                mirror.abandon(Status.STOPPED, reason)
            return None

    def look() -> None:
        for sentence in asked(broker.take_notes) or ():
            session.journal.append("note", text=sentence)
            progress.say(f"note: {sentence}")
        progress.doing(asked(broker.take_doing) or {})
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
    try:
        with interruption.waits(lambda: stop(INTERRUPTED)), Watch(directory, spent, look, stop):
            try:
                tuner.fit()
            finally:
                over.append(True)
    except BaseException as error:
        if not gone and (isinstance(error, KeyboardInterrupt) or answers_at(gcs)):
            raise
        gone.append(f"{type(error).__name__}: {error}")
        progress.say(f"{RAY_IS_GONE} ({gone[0][:200]}): trials under way go on from their checkpoints when resumed")
    finally:
        recorder.close()
    if gone and not stopped:
        stopped.append(RAY_IS_GONE)
    if not stopped:
        keeper.settle()
    if not stopped and not searcher.proposals:
        raise SlotError("no trial was started; the messages above say why")
    return stopped[0] if stopped else None
