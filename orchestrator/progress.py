"""What a person sees while a sweep runs: a live table in a terminal, a line per event elsewhere."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.journal import KEPT, Event
from orchestrator.records import Status, TrialRecord
from orchestrator.screen import Screen
from orchestrator.terminal import Terminal
from sweeps.objectives import Objective

RECENT = 8
"""Ended trials that the live table shows."""
QUIET_SECONDS = 15.0
"""Without a terminal, a long phase says this often how far it is."""
_STYLE = {Status.FINISHED: "green", Status.FAILED: "red", Status.STOPPED: "yellow", Status.PRUNED: "dim"}


def duration(seconds: float) -> str:
    """``83`` -> ``1:23``, ``3723`` -> ``1:02:03``."""
    whole = round(max(0.0, seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress(Screen):
    """Follows the journal's events; a context manager that owns the terminal while it is entered.

    Args:
        console: where to draw.
        name: the sweep's name.
        total: jobs of the sweep, references included; replicates count once they have started.
        objectives: metrics shown for every finished trial.
        known: trials of earlier drivers of the same sweep.
        trouble: what goes wrong beside the sweep at the moment, in a sentence; none while all is well.
    """

    def __init__(
        self,
        console: Terminal,
        name: str,
        total: int,
        objectives: Sequence[Objective],
        known: Sequence[TrialRecord] = (),
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._name = name
        self._trouble = trouble
        self._total = total + sum(record.kind == "replicate" for record in known)
        self._metrics = [objective.metric for objective in objectives]
        self._begin = time.time()
        self._phase = "starting"
        self._said = self._begin
        self._running: dict[str, Event] = {}
        self._started: dict[str, float] = {}
        self._known = {record.id for record in known}
        self._recent: deque[tuple[str, Event, float]] = deque(maxlen=RECENT)
        self._done = sum(record.status in KEPT for record in known)
        self._finished: list[float] = []  # how long trials took
        self._slots = 1
        self._lock = threading.Lock()
        super().__init__(console, self._render)

    def say(self, text: str) -> None:
        """A line that stays on screen."""
        self._said = time.time()
        self._console.say(text)

    def phase(self, text: str, fraction: float | None = None) -> None:
        """What is going on before the first trial; ``fraction`` of it is done."""
        shown = text if fraction is None else f"{text} {fraction:.0%}"
        news = text.partition(":")[0] != self._phase.partition(":")[0]
        self._phase = shown
        if not self._live and (news or time.time() - self._said > QUIET_SECONDS):
            self.say(f"{duration(time.time() - self._begin):>7}  {shown}")

    def slots(self, count: int) -> None:
        """How many trials run at once, for the time left."""
        self._slots = count

    def on_event(self, event: Event) -> None:
        """Take in one event of the journal."""
        with self._lock:
            job_id = event.get("id", "")
            if event["event"] == "trial_started":
                self._phase = "searching"
                self._total += event["kind"] == "replicate" and job_id not in self._known
                self._started[job_id] = event["time"]
                self._running[job_id] = event
            elif event["event"] in ("trial_reported", "trial_rung"):
                self._running[job_id] = event
            elif event["event"] == "trial_ended":
                self._running.pop(job_id, None)
                seconds = event["time"] - self._started.pop(job_id)
                self._recent.append((job_id, event, seconds))
                self._done += 1
                if event["status"] == Status.FINISHED:
                    self._finished.append(seconds)
        if event["event"] == "trial_ended" and not self._live:
            self.say(self._line(*self._recent[-1]))

    def warn(self, sentence: str | None) -> None:
        """Trouble that holds the sweep up; none says that it goes on."""
        self.say(f"{duration(time.time() - self._begin):>7}  {sentence or 'there is room again: the sweep goes on'}")

    def seconds_left(self) -> float | None:
        """Mean time of a trial, times the trials still to come, over the slots; none before the first has ended."""
        if not self._finished:
            return None
        now = time.time()
        mean = sum(self._finished) / len(self._finished)
        spent = sum(min(mean, now - self._started[job_id]) for job_id in self._running)
        return max(0.0, (self._total - self._done) * mean - spent) / self._slots

    def _clock(self) -> str:
        left = self.seconds_left()
        elapsed = duration(time.time() - self._begin)
        return f"{elapsed} elapsed, about {duration(left)} left" if left is not None else f"{elapsed} elapsed"

    def _line(self, job_id: str, event: Event, seconds: float) -> str:
        values = self._values(event) or str(event["error"] or "").strip().splitlines()[-1:]
        shown = values if isinstance(values, str) else "".join(values)
        return (
            f"{duration(time.time() - self._begin):>7}  [{self._done}/{self._total}] {job_id} "
            f"{event['status']} in {seconds:.1f} s  {shown}  ({self._clock()})"
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
            if not self._running and not self._recent:
                return Group(head, Text(self._phase, style="cyan"))
            table = Table(box=None, pad_edge=False)
            for column in ("trial", "status", "seconds", *(name.rpartition("/")[2] for name in self._metrics)):
                table.add_column(column, justify="left" if column in ("trial", "status") else "right")
            for job_id, event, seconds in self._recent:
                style = _STYLE.get(Status(event["status"]), "")
                cells = [f"{event['metrics'][name]:.3f}" if name in event["metrics"] else "" for name in self._metrics]
                table.add_row(job_id, Text(event["status"], style=style), f"{seconds:.1f}", *cells)
            for job_id, event in self._running.items():
                table.add_row(job_id, self._running_text(event), f"{time.time() - self._started[job_id]:.1f}")
            return Group(head, table)

    def _running_text(self, event: Event) -> Text:
        if event["event"] == "trial_started":
            return Text("running", style="cyan")
        loss = event["metrics"].get("train/loss")
        return Text(f"step {event['step']}" + (f"  loss {loss:.3f}" if loss is not None else ""), style="cyan")
