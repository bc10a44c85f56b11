"""One search from its first proposal to its last trial: Ray Tune, what listens to it, and what stops it."""

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.driver.checkpoints import Keeper
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.mirror import Mirror
from orchestrator.driver.progress import Progress
from orchestrator.driver.ray_watch import RayWatch
from orchestrator.driver.session import Session
from orchestrator.driver.watch import Watch
from orchestrator.errors import SlotError
from orchestrator.record.clock import now
from orchestrator.record.folder import ANSWERS, CHECKPOINTS, INTERRUPTED
from sweeps.schema.budget import Budget

if TYPE_CHECKING:
    from ray.tune import Tuner

    from orchestrator.search.searcher import FrontSearcher

ANSWER_SECONDS = 15.0
"""How long the broker, which does nothing but answer, may be silent before we go on without its answer."""
ACTOR_RESTARTS = 3
"""How often a killed Tune actor is started again; its trial goes on in its slot meanwhile."""


class SearchRun:
    """Lets Ray Tune run what a searcher proposes, until it has nothing left or something stops it.

    Args:
        session: the sweep, whose journal takes every event.
        searcher: says what comes next.
        progress: told of every event.
        mirror: likewise.
        broker: the actor between trials and slots.
        slots: trials that run at once.
        ray_watch: told of a broker that has died, without which nothing can be gone on with.
    """

    def __init__(
        self,
        session: Session,
        searcher: "FrontSearcher",
        progress: Progress,
        mirror: Mirror,
        broker: Any,
        slots: int,
        ray_watch: RayWatch,
    ) -> None:
        from orchestrator.driver.recorder import Recorder

        spec, directory = session.spec, session.directory
        self._session = session
        self._searcher = searcher
        self._progress = progress
        self._broker = broker
        self._slots = slots
        self._ray_watch = ray_watch
        self._budget = Budget(spec.budget, spec.resources)
        self._keeper = Keeper(directory / CHECKPOINTS, spec, session.state)
        listeners = [progress.on_event, mirror.on_event, self._keeper.on_event]
        self._recorder = Recorder(session.journal, searcher, self._take_answers, directory / ANSWERS, listeners)
        self._stopped: str | None = None

    def run(self, interruption: Interruption) -> str | None:
        """Run the search to its end; once.

        Args:
            interruption: what signals do: the first one stops the search.

        Returns:
            why it ended before all was done; None where all was.

        Raises:
            SlotError: no trial could be started.
        """
        tuner = self._tuner()
        watch = Watch(self._session.directory, self._spent, self._look, self.stop)
        try:
            with interruption.waits(partial(self.stop, INTERRUPTED)), watch:
                tuner.fit()
        finally:
            self.close()
        if self._stopped is None and not self._searcher.proposals:
            raise SlotError("no trial was started; the messages above say why")
        if self._stopped is None and (lost := self._searcher.under_way):
            self._stopped = f"Ray Tune lost {', '.join(lost)}"
        if self._stopped is None:
            self._keeper.settle()
        return self._stopped

    def stop(self, reason: str) -> None:
        """Propose nothing more and end running trials at their next report; what comes first is the reason."""
        if self._stopped is None:
            self._stopped = reason
            self._progress.say(
                f"stopping ({reason}): running trials end at their next report, then the report is written"
            )
            self._searcher.stop()
            self._answer_to(self._broker.cancel_all)

    def close(self) -> None:
        """End what runs as stopped, in the journal and for its listeners; they hear of nothing any more."""
        self._recorder.close()

    def _tuner(self) -> "Tuner":
        from ray import tune
        from ray.tune.execution import class_cache

        from orchestrator.search.scheduler import DominanceScheduler
        from orchestrator.slots.tune_trial import tune_trial

        session = self._session
        # Tune would put these into its trials' runtime environment, which Ray logs; ours only wait for a slot.
        class_cache.ENV_VARS_TO_PROPAGATE -= {
            one for one in class_cache.ENV_VARS_TO_PROPAGATE if one.startswith("AWS_")
        }
        return tune.Tuner(
            # CPU 0 alone is refused by Ray, and any fraction of a CPU could keep a slot's worker from fitting.
            tune.with_resources(tune_trial, {"CPU": 0, "memory": 1}),
            tune_config=tune.TuneConfig(
                search_alg=self._searcher,
                scheduler=DominanceScheduler(session.spec, self._searcher, self._broker, session.known, self._slots),
                num_samples=-1,  # the searcher says when it is done
                max_concurrent_trials=self._slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{time.time_ns()}",
                storage_path=str(session.directory / "ray"),
                verbose=0,
                callbacks=[self._recorder],
                failure_config=tune.FailureConfig(max_failures=ACTOR_RESTARTS),
            ),
        )

    def _look(self) -> None:
        """What has to happen now and then while trials run."""
        for sentence in self._answer_to(self._broker.take_notes) or ():
            self._recorder.note(sentence)
        self._progress.doing(self._answer_to(self._broker.take_doing) or {})
        if self._searcher.exhausted:
            self._broker.drain.remote(len(self._searcher.proposals))

    def _spent(self) -> str | None:
        """Which budget is spent, in a sentence; None while none is."""
        session = self._session
        return self._budget.exceeded(session.seconds_before + now() - session.began, self._slots)

    def _take_answers(self, job_id: str) -> list[dict[str, Any]]:
        import ray

        return list(ray.get(self._broker.take_answers.remote(job_id)))

    def _answer_to(self, method: Any) -> Any:
        """What the broker answers; None where it is busy, or gone."""
        import ray

        try:
            return ray.get(method.remote(), timeout=ANSWER_SECONDS)
        except ray.exceptions.ActorDiedError as error:
            self._ray_watch.lose(f"the broker between trials and slots has died ({str(error).splitlines()[0]})")
        except Exception:  # Ray has no one exception for its own end, which the watch over it tells
            return None
