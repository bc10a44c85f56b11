"""One search from its first proposal to its last trial: Ray Tune, what listens to it, and what stops it."""

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.driver.baselines import BaselineStore
from orchestrator.driver.checkpoints import Keeper
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.mirror import Mirror
from orchestrator.driver.progress import Progress
from orchestrator.driver.ray_watch import RayWatch
from orchestrator.driver.session import Session
from orchestrator.driver.watch import Watch
from orchestrator.errors import SlotError
from orchestrator.record.clock import now
from orchestrator.record.events import Event
from orchestrator.record.folder import ANSWERS, INTERRUPTED
from orchestrator.slots.cluster import Room, living_nodes, slots_that_fit
from orchestrator.slots.shared_storage import SharedStorage
from sweeps.schema.budget import Budget

if TYPE_CHECKING:
    from ray.tune import Tuner

    from orchestrator.search.searcher import FrontSearcher
    from orchestrator.slots.slot import Slots

ANSWER_SECONDS = 15.0
"""How long the broker, which does nothing but answer, may be silent before we go on without its answer."""
SILENT_SECONDS = 180.0
"""How long it may be silent before it is held to be gone for good; Ray starts it again within seconds."""
ACTOR_RESTARTS = 20
"""How often a killed Tune actor is started again, as when its node is lost; its trial goes on in its slot meanwhile."""


class SearchRun:
    """Lets Ray Tune run what a searcher proposes, until it has nothing left or something stops it.

    Args:
        session: the sweep, whose journal takes every event.
        searcher: says what comes next.
        progress: told of every event.
        storage: asks nodes that join whether they see the sweep's files; None on a Ray of this machine alone.
        mirror: likewise.
        broker: the actor between trials and slots.
        slots: where trials run; more are started as nodes join.
        room: how many trials run at once, now and later.
        ray_watch: told of a broker that is gone for good, without which nothing can be gone on with.
    """

    def __init__(
        self,
        session: Session,
        searcher: "FrontSearcher",
        progress: Progress,
        storage: SharedStorage | None,
        mirror: Mirror,
        broker: Any,
        slots: "Slots",
        room: Room,
        ray_watch: RayWatch,
    ) -> None:
        from orchestrator.driver.recorder import Recorder

        spec, directory = session.spec, session.directory
        self._session = session
        self._searcher = searcher
        self._progress = progress
        self._broker = broker
        self._slots = slots
        self._room = room
        self._started = room.slots
        searcher.at_once = room.at_once
        self._ray_watch = ray_watch
        self._storage = storage
        self._budget = Budget(spec.budget, spec.resources)
        self._keeper = Keeper(session.remove_checkpoints, spec, session.state, session.remove_forks)
        baselines = BaselineStore(spec, session.manifest, session.state, directory, directory / ANSWERS)
        listeners = [progress.on_event, mirror.on_event, self._keeper.on_event, baselines.on_event, self._settle]
        self._recorder = Recorder(session.journal, searcher, self._take_answers, directory / ANSWERS, listeners)
        self._stopped: str | None = None
        self._noted = 0
        self._silent_since: float | None = None
        self._closing = False

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
            self._look()
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
        self._closing = True
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
            tune.with_resources(tune_trial, _beside_the_driver()),
            tune_config=tune.TuneConfig(
                search_alg=self._searcher,
                scheduler=DominanceScheduler(
                    session.spec, self._searcher, self._broker, session.known, self._room.most
                ),
                num_samples=-1,  # the searcher says when it is done
                max_concurrent_trials=self._room.most,
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
        news = self._answer_to(self._broker.news, self._noted)
        if news is not None:
            self._noted += len(news.notes)
            for sentence in news.notes:
                self._recorder.note(sentence)
            self._recorder.slots_lost(news.lost)
            self._recorder.slots_up(news.up)
            self._progress.doing(news.doing)
            self._searcher.at_once = max(self._searcher.at_once or 1, news.up)
        if self._searcher.exhausted:
            self._broker.drain.remote(len(self._searcher.proposals))
        if self._storage is not None:
            self._look_at_nodes(self._storage)

    def _look_at_nodes(self, storage: SharedStorage) -> None:
        """Use nodes that have joined, but for those that do not see the sweep's files; stop where all do not."""
        unseen = storage.look()
        for node, fault in unseen.items():
            self._broker.see_blind.remote(node, fault)
        if not unseen and self._started >= self._room.most:
            return
        resources = self._session.spec.resources
        fitting = min(slots_that_fit(living_nodes(but=storage.blind), resources), self._room.most)
        if fitting > self._started:
            self._started = fitting
            self._broker.add_slots.remote(fitting)
            self._slots.grow(fitting)
        if unseen and not fitting:
            self.stop(next(iter(unseen.values())))

    def _spent(self) -> str | None:
        """Which budget is spent, or why this driver is no longer the one, in a sentence; None while all is well."""
        session = self._session
        if session.fault is not None:
            return session.fault
        return self._budget.exceeded(session.seconds_before + now() - session.began, session.state.slot_seconds(now()))

    def _take_answers(self, job_id: str) -> list[dict[str, Any]]:
        import ray

        return list(ray.get(self._broker.answers.remote(job_id)))

    def _settle(self, event: Event) -> None:
        """Let the broker forget a trial whose end is in the journal; nobody waits for it."""
        if event["event"] == "trial_ended" and not self._closing:
            self._broker.settle.remote(event["id"])

    def _answer_to(self, method: Any, *arguments: Any) -> Any:
        """What the broker answers; None where it is busy, or gone."""
        import ray

        asked = time.monotonic()
        try:
            answer = ray.get(method.remote(*arguments), timeout=ANSWER_SECONDS)
        except ray.exceptions.ActorDiedError as error:
            self._ray_watch.lose(f"the broker between trials and slots has died ({str(error).splitlines()[0]})")
        except Exception:  # Ray has no one exception for its own end, which the watch over it tells
            self._silent_since = asked if self._silent_since is None else self._silent_since
            silent = time.monotonic() - self._silent_since
            if silent > SILENT_SECONDS:
                self._ray_watch.lose(f"the broker between trials and slots has not answered for {silent:.0f} s")
        else:
            self._silent_since = None
            return answer


def _beside_the_driver() -> Any:
    """What a Tune trial, which only waits, is given: a place on the driver's own node, so that it keeps no node busy.

    CPU 0 alone is refused by Ray, and any fraction of a CPU could keep a slot's worker from fitting.
    """
    import ray
    from ray import tune

    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    return tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}], bundle_label_selector=[here])
