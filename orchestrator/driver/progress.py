"""What a person sees while a sweep runs: a live table in a terminal, a line per event elsewhere."""

import threading
from collections import deque
from collections.abc import Callable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.driver.screen import Screen
from orchestrator.driver.time_left import Timetable
from orchestrator.record.clock import now
from orchestrator.record.events import Event
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trial_state import TrialState
from orchestrator.record.trials import Status
from orchestrator.terminal import Terminal
from sweeps.cost.cost import planned
from sweeps.schema.spec import SweepSpec

RECENT = 8
"""Ended trials that the live table shows."""
SURE_FRACTION = 0.05
"""Of a phase of which less is done, nobody can tell how long it takes."""
QUIET_SECONDS = 15.0
"""Without a terminal, a long phase says this often how far it is."""
_STYLE = {Status.FINISHED: "green", Status.FAILED: "red", Status.STOPPED: "yellow", Status.PRUNED: "dim"}


def duration(seconds: float) -> str:
    """``83`` -> ``1:23``, ``3723`` -> ``1:02:03``."""
    whole = round(max(0.0, seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress(Screen):
    """Shows how a sweep stands; a context manager that owns the terminal while it is entered.

    Args:
        console: where to draw.
        spec: the sweep, whose objectives are shown of every finished trial; replicates count once they have started.
        state: what the journal tells, which grows while this looks at it.
        trouble: what goes wrong beside the sweep at the moment, in a sentence; None while all is well.
    """

    def __init__(
        self,
        console: Terminal,
        spec: SweepSpec,
        state: SweepState,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._name = spec.name
        self._state = state
        self._trouble = trouble
        self._planned = planned(spec)
        self._metrics = [objective.metric for objective in spec.objectives]
        self._timetable = Timetable(spec, state)
        self._begin = now()
        self._phase = "starting"
        self._said = self._begin
        self._doing: dict[str, str] = {}
        self._phase_since = self._begin
        self._recent: deque[tuple[Event, float]] = deque(maxlen=RECENT)
        self._lock = threading.Lock()
        super().__init__(console, self._render)

    def say(self, text: str) -> None:
        """A line that stays on screen."""
        self._said = now()
        self._console.say(text)

    def phase(self, text: str, fraction: float | None = None) -> None:
        """What is going on before the first trial; ``fraction`` of it is done."""
        news = text.partition(":")[0] != self._phase.partition(":")[0]
        if news:
            self._phase_since = now()
        shown = text if fraction is None else f"{text} {fraction:.0%}{self._rest(fraction)}"
        self._phase = shown
        if not self._live and (news or now() - self._said > QUIET_SECONDS):
            self.say(f"{duration(now() - self._begin):>7}  {shown}")

    def _rest(self, fraction: float) -> str:
        """How long a phase may still take whose ``fraction`` is done, once that can be told."""
        spent = now() - self._phase_since
        return f", about {duration(spent * (1 - fraction) / fraction)} left" if fraction > SURE_FRACTION else ""

    def doing(self, found: Mapping[str, str]) -> None:
        """What slots do for trials that have not reported yet, by trial."""
        for job_id, what in found.items():
            news = self._doing.get(job_id) != what
            self._doing[job_id] = what
            if news and not self._live:
                self.say(f"{duration(now() - self._begin):>7}  {job_id}: {what}")

    def on_event(self, event: Event) -> None:
        """Show one event, which the state has taken in."""
        kind = event["event"]
        if kind == "trial_started":
            self._phase = "searching"
        elif kind == "trial_ended":
            with self._lock:
                ended = event, self._state.trials[event["id"]].seconds
                self._recent.append(ended)
            if not self._live:
                self.say(self._line(*ended))
        elif kind == "model_given_up":
            self.say(f"{event['model']} is given up, and none of its trials is run: {event['error']}")
        elif kind == "note":
            self.say(f"note: {event['text']}")

    def warn(self, sentence: str | None) -> None:
        """Trouble that holds the sweep up; None says that it goes on."""
        self.say(f"{duration(now() - self._begin):>7}  {sentence or 'there is room again: the sweep goes on'}")

    def seconds_left(self) -> float | None:
        """The estimate that ``procon status`` gives as well; None before a training has ended."""
        return self._timetable.seconds_left(now())

    @property
    def _total(self) -> int:
        replicates = [trial for trial in self._state.listed() if trial.started["kind"] == "replicate"]
        return self._planned + len(replicates)

    def _clock(self) -> str:
        return f"{duration(now() - self._begin)} elapsed{self._left(', ')}"

    @property
    def _done(self) -> int:
        """Trials that need not be run again, those of earlier drivers and other sweeps among them."""
        return sum(trial.kept for trial in self._state.listed())

    def _left(self, before: str, after: str = "") -> str:
        """The time left between ``before`` and ``after``; nothing while it is unknown."""
        left = self.seconds_left() if self._done < self._total else None
        return "" if left is None else f"{before}about {duration(left)} left{after}"

    def _line(self, event: Event, seconds: float) -> str:
        error = "its model cannot be prepared" if event.get("unprepared") else event["error"] or event.get("reason")
        shown = self._values(event) or "".join(str(error or "").strip().splitlines()[-1:])
        return (
            f"{duration(now() - self._begin):>7}  [{self._done}/{self._total}] {event['id']} "
            f"{event['status']} in {seconds:.1f} s  {shown}{self._left('  (', ')')}"
        )

    def _values(self, event: Event) -> str:
        metrics = event["metrics"]
        return "  ".join(f"{name.rpartition('/')[2]} {metrics[name]:.3f}" for name in self._metrics if name in metrics)

    def _render(self) -> RenderableType:
        with self._lock:
            done = self._done
            head = Text.assemble((self._name, "bold"), f"  {done}/{self._total} trials  {self._clock()}")
            if trouble := self._trouble():
                head.append(f"\n{trouble}", style="yellow")
            running = self._state.under_way
            if not running and not self._recent:
                return Group(head, Text(self._phase, style="cyan"))
            table = Table(box=None, pad_edge=False)
            for column in ("trial", "status", "seconds", *(name.rpartition("/")[2] for name in self._metrics)):
                table.add_column(column, justify="left" if column in ("trial", "status") else "right")
            for event, seconds in self._recent:
                style = _STYLE.get(Status(event["status"]), "")
                cells = [f"{event['metrics'][name]:.3f}" if name in event["metrics"] else "" for name in self._metrics]
                table.add_row(event["id"], Text(event["status"], style=style), f"{seconds:.1f}", *cells)
            for trial in running:
                seconds = now() - trial.started["time"]
                table.add_row(trial.id, self._running_text(trial), f"{seconds:.1f}")
            return Group(head, table)

    def _running_text(self, trial: TrialState) -> Text:
        report = trial.report
        if report is None:
            doing = self._doing.get(trial.id, "waiting for its slot")
            return Text(doing, style="cyan", no_wrap=True, overflow="ellipsis")
        loss = report["metrics"].get("train/loss")
        return Text(f"step {report['step']}" + (f"  loss {loss:.3f}" if loss is not None else ""), style="cyan")
