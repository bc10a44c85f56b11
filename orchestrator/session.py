"""An opened sweep folder: new, or one that a former driver left, with the one journal this driver writes."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from orchestrator.errors import OutputError
from orchestrator.journal import Event, Journal, read_journal, records
from orchestrator.manifest import day_of, manifest
from orchestrator.output import CHECKPOINTS, JOURNAL, LOCK, SPEC, STOP_REQUEST, create_output, read_json, write_json
from orchestrator.preflight import check_machine, check_sweep
from orchestrator.records import Status, TrialRecord
from orchestrator.spec_changes import Change, changes, refusal
from orchestrator.tracking import default_tracking_uri
from sweeps.load import change_spec
from sweeps.spec import SweepSpec


@dataclass
class Session:
    """One driver's time with a sweep; :meth:`close` it in the end."""

    spec: SweepSpec
    directory: Path
    journal: Journal
    manifest: dict[str, Any]
    depths: dict[str, int]
    """Decoder layers by model name."""
    tracking_uri: str
    artifacts: str | None
    """Where a new MLflow experiment keeps artifacts; none leaves it to the store."""
    before: list[Event] = field(default_factory=list)
    """What earlier drivers recorded."""
    began: float = field(default_factory=time.time)

    @classmethod
    def new(
        cls,
        spec: SweepSpec,
        out: str | Path | None,
        address: str | None = None,
        say: Callable[[str], None] = lambda _sentence: None,
    ) -> Self:
        """Check ``spec`` and open a fresh folder for it.

        Args:
            spec: a validated specification with absolute paths.
            out: output folder; none takes the next free one.
            address: Ray cluster that will be joined; none is a local Ray, which this machine must have room for.
            say: told what the check does and costs.

        Raises:
            SpecError, TrainingError, OrchestratorError: refused before anything started.
        """
        base = Path(out).absolute().parent if out is not None else Path("runs").absolute()
        tracking_uri, artifacts = default_tracking_uri(base / "out")
        depths = check_sweep(spec, tracking_uri, say)
        if address is None:
            check_machine(spec)
        directory = create_output(out, spec.name)
        session = cls(spec, directory, Journal(directory / JOURNAL), manifest(spec), depths, tracking_uri, artifacts)
        session._open("sweep_started", spec=spec.model_dump(mode="json"), manifest=session.manifest)
        write_json(directory / SPEC, {"spec": spec.model_dump(mode="json"), "manifest": session.manifest})
        return session

    @classmethod
    def again(
        cls,
        directory: Path,
        overrides: Sequence[str] = (),
        more: int = 0,
        accept: bool = False,
        address: str | None = None,
        say: Callable[[str], None] = lambda _sentence: None,
    ) -> Self:
        """Go on with the sweep in ``directory``: what ended stays, what did not is run.

        Args:
            directory: a sweep's output folder.
            overrides: ``a.b=value`` each, changes of the recorded specification.
            more: searched trials per model on top of those recorded.
            accept: whether a specification that differs from the recorded one, for more than ``more``, is taken.
            address: Ray cluster that will be joined; none is a local Ray, which this machine must have room for.
            say: told what the check does and costs.

        Raises:
            OutputError: there is no sweep, another driver has it, or the specification was edited without ``accept``.
            SpecError, TrainingError: the changed specification is not usable.
        """
        directory = directory.absolute()
        before = read_journal(directory / JOURNAL)
        recorded = recorded_spec(before, directory)
        try:
            edited = SweepSpec.model_validate(read_json(directory / SPEC)["spec"])
        except (ValidationError, KeyError) as error:
            raise OutputError(
                f"{directory / SPEC} does not hold a valid spec ({error}): put the recorded one back"
            ) from error
        spec = change_spec(edited, [*overrides, *([f"trials={edited.trials + more}"] if more else [])])
        found = changes(recorded, spec)
        if not accept and [change for change in found if not (more and change.field == "trials")]:
            raise OutputError(refusal(directory, found))
        tracking_uri, artifacts = default_tracking_uri(directory)
        depths = check_sweep(spec, tracking_uri, say)
        if address is None:
            check_machine(spec)
        held = manifest(spec, day_of(before))
        session = cls(spec, directory, Journal(directory / JOURNAL), held, depths, tracking_uri, artifacts, before)
        session._open("sweep_resumed", manifest=session.manifest, cut=session.journal.cut)
        if found:
            session._change(found)
        return session

    @property
    def known(self) -> list[TrialRecord]:
        """What earlier drivers recorded of every trial."""
        return records(self.before)

    @property
    def seconds_before(self) -> float:
        """How long earlier drivers worked on this sweep."""
        return seconds_spent(self.before)

    @property
    def runs(self) -> dict[str, str]:
        """MLflow run ids that earlier drivers remembered."""
        return {event["key"]: event["run_id"] for event in self.before if event["event"] == "mlflow_run"}

    def close(self) -> None:
        """Let go of the folder."""
        (self.directory / LOCK).unlink(missing_ok=True)
        self.journal.close()

    def _open(self, event: str, **fields: Any) -> None:
        (self.directory / STOP_REQUEST).unlink(missing_ok=True)
        driver = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        write_json(self.directory / LOCK, driver)
        self.journal.append(event, **fields)

    def _change(self, found: Sequence[Change]) -> None:
        """Record the new specification; half-trained trials start over where it changes how they are trained."""
        dumped = self.spec.model_dump(mode="json")
        self.journal.append("spec_changed", spec=dumped, changes=[vars(change) for change in found])
        write_json(self.directory / SPEC, {"spec": dumped, "manifest": self.manifest})
        if any(change.field != "trials" for change in found):
            for record in self.known:
                if record.status in (Status.RUNNING, Status.STOPPED):
                    shutil.rmtree(self.directory / CHECKPOINTS / record.id, ignore_errors=True)


def recorded_spec(events: Sequence[Event], directory: Path) -> SweepSpec:
    """The specification that the journal holds: the first, or the last accepted change of it.

    Raises:
        OutputError: the journal holds none that this version understands.
    """
    specs = [event["spec"] for event in events if event["event"] in ("sweep_started", "spec_changed")]
    if not specs:
        raise OutputError(f"{directory / JOURNAL} does not say what the sweep was: its first line is missing")
    try:
        return SweepSpec.model_validate(specs[-1])
    except ValidationError as error:
        raise OutputError(
            f"{directory / JOURNAL} holds a specification that this version does not understand ({error}): "
            "go on with the version named in sweep.json"
        ) from error


def seconds_spent(events: Sequence[Event]) -> float:
    """Seconds that drivers worked on a sweep: from the start of each to the last thing it recorded."""
    total, began, last = 0.0, None, 0.0
    for event in events:
        if event["event"] in ("sweep_started", "sweep_resumed"):
            total += last - began if began is not None else 0.0
            began = event["time"]
        last = event["time"]
    return total + (last - began if began is not None else 0.0)
