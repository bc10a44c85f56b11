"""How a sweep stands, for a person."""

import time
from pathlib import Path

from orchestrator.commands.status import SweepStatus, sweep_status
from orchestrator.driver.progress import duration
from orchestrator.driver.resume_command import resume_command
from orchestrator.terminal import Terminal

_STYLE = {"running": "cyan", "ended": "green", "stopped": "yellow", "driver dead": "red"}
WATCH_SECONDS = 5.0
SHOWN = 10
"""Members of a front that are listed."""


def print_status(status: SweepStatus, console: Terminal) -> None:
    """State, counts, running trials, the best so far, time and budget."""
    say = console.say
    reason = f": {status.reason}" if status.reason else ""
    if status.state == "stopped":
        reason += f"; go on with: {resume_command(Path(status.directory), stopped=status.reason)}"
    say(f"{status.name} in {status.directory} ", (status.state, _STYLE[status.state]), reason)
    counts = dict(status.counts)
    planned = counts.pop("planned")
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none started"
    say(f"trials    {said} of {planned} (references included)")
    for one in status.running:
        step = f"step {one.step} of {one.steps}" if one.steps else "measured as it is"
        say(f"          {one.id}: {step}, {duration(one.seconds)}")
    left = "" if status.seconds_left is None else f", about {duration(status.seconds_left)} left"
    running = status.state == "running"
    say(f"time      {duration(status.seconds)} {'so far' if running else 'in all'}{left}")
    if status.slots_lost:
        some = f"{status.slots_lost} slot{'s are' if status.slots_lost > 1 else ' is'}"
        console.say((f"slots     {some} lost at the moment: trials go on in the others", "yellow"))
    _print_budget(status, console)
    for model, why in status.given_up.items():
        console.say((f"given up  {model}: {why}", "red"))
    for note in status.notes:
        say(f"note      {note}")
    for model, best in status.best.items():
        listed = list(best.items())
        say(f"front     {model}: {len(listed)} trial{'' if len(listed) == 1 else 's'}{' so far' if running else ''}")
        for trial, values in listed[:SHOWN]:
            say(f"          {trial}: " + ", ".join(f"{metric} {value:.3f}" for metric, value in values.items()))
        if len(listed) > SHOWN:
            say(f"          and {len(listed) - SHOWN} more")


def watch_status(directory: Path, console: Terminal, seconds: float = WATCH_SECONDS) -> None:
    """Print how the sweep in ``directory`` stands until nobody drives it: in place on a terminal, else when it changes.

    Args:
        directory: a sweep's output folder.
        console: where to.
        seconds: between two looks.
    """
    before: dict[str, int] | None = None
    while True:
        found = sweep_status(directory)
        in_place = console.is_terminal and not console.is_dumb_terminal
        if in_place:
            console.clear()
        if in_place or found.counts != before:
            print_status(found, console)
        if found.state != "running":
            return
        before = found.counts
        time.sleep(seconds)


def _print_budget(status: SweepStatus, console: Terminal) -> None:
    say = console.say
    for name, value in status.used.items():
        limit = status.budget[name]
        if limit is not None and value is not None:
            say(f"budget    {name}: {value:.3g} of {limit:g} used")
        elif value and name != "hours":
            say(f"used      {name}: {value:.3g}")
    if status.over_budget:
        say((f"          {status.over_budget}", "yellow"))
