"""One driver's time with a sweep's folder: checked first, opened once nothing can be refused any more."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from orchestrator.driver.baselines import Baseline, baselines_in_words
from orchestrator.driver.epochs import with_counted_epochs
from orchestrator.driver.preflight import check_machine, check_sweep
from orchestrator.driver.stored import StoredSweep, check_new
from orchestrator.errors import OutputError
from orchestrator.record.answers import copy_answers
from orchestrator.record.clock import now
from orchestrator.record.disk import once_there_is_room
from orchestrator.record.events import Event
from orchestrator.record.folder import (
    ANSWERS,
    CHECKPOINTS,
    FORKS,
    JOURNAL,
    SPEC,
    STOP_REQUEST,
    check_output,
    create_output,
    named,
    read_json,
    write_json,
)
from orchestrator.record.history import recorded_spec
from orchestrator.record.journal import Journal, read_journal
from orchestrator.record.manifest import manifest
from orchestrator.record.sign import Sign, refuse_living
from orchestrator.record.spec_changes import Change, changes, refusal
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.value_identity import Measured, differences
from orchestrator.tracking.tracker import default_tracking_uri
from sweeps.schema.load import change_spec
from sweeps.schema.spec import SweepSpec
from training.loop.names import step_name
from training.storage.address import address_of, checked, is_address

MEASURED_BY = ("models", "data", "direction", "evaluation")
"""Blocks of a specification that decide how values are measured."""


def _untold(_sentence: str | None) -> None:
    """Nobody listens yet."""


@dataclass
class Session:
    """One driver's time with a sweep: made of checks alone, then :meth:`open`, in the end :meth:`close`.

    Between the two comes what else can be refused, such as a cluster that is too small: until it is opened a new sweep
    has no folder, and an old one holds no word of this driver, who nonetheless keeps others away from it.
    """

    spec: SweepSpec
    manifest: dict[str, Any]
    depths: dict[str, int]
    """Decoder layers by model name."""
    tracking_uri: str
    artifacts: str | None
    """Where a new MLflow experiment keeps artifacts; None leaves it to the store."""
    events: list[Event] = field(default_factory=list)
    """What earlier drivers recorded, and from :meth:`open` on how this one began."""
    state: SweepState = field(default_factory=SweepState)
    """Everything that is known of the sweep; it grows with the journal."""
    began: float = field(default_factory=now)
    out: str | Path | None = None
    """The folder that was asked for, or the address of a place in a bucket."""
    fresh: bool = False
    """Whether references are measured though an earlier sweep did."""
    stored: StoredSweep | None = None
    """What keeps it in a bucket; None where it is in a folder, and before :meth:`open` of a new one."""
    changed: Sequence[Change] = ()
    """How the specification differs from the recorded one."""
    _directory: Path | None = None
    _journal: Journal | None = None
    _sign: Sign | None = None
    opened: bool = False
    """Whether the folder knows of this driver."""
    quiet: bool = False
    """Whether nothing was left to be done, so that the journal says nothing of this driver's time."""
    trouble: Callable[[str | None], None] = _untold
    """Told in a sentence when the store of the bucket is out, and none when it is back."""
    first: bool = field(init=False)
    """Whether no other driver worked on the sweep before."""
    known: list[TrialRecord] = field(init=False)
    """What earlier drivers recorded of every trial."""
    since: float = field(init=False)
    """When the first driver began, in seconds since the epoch."""
    seconds_before: float = field(init=False)
    """How long earlier drivers worked on this sweep."""
    complete: bool = field(init=False)
    """Whether an earlier driver came to the end of this very sweep, so that its time is over."""

    def __post_init__(self) -> None:
        self.state.leave()
        self.first = not self.events
        self.known = self.state.records()
        self.since = self.began if self.state.began is None else self.state.began
        self.seconds_before = self.state.seconds
        self.complete = self.state.complete and not self.changed

    @classmethod
    def new(
        cls,
        spec: SweepSpec,
        out: str | Path | None,
        address: str | None = None,
        say: Callable[[str], None] = lambda _sentence: None,
        *,
        fresh: bool = False,
    ) -> Self:
        """Check ``spec``; a fresh folder for it is made by :meth:`open`.

        Args:
            spec: a validated specification with absolute paths.
            out: output folder, or the address of a place in a bucket; None takes the next free folder.
            address: Ray cluster that will be joined; None is a local Ray, which this machine must have room for.
            say: told what the check does and costs.
            fresh: references are measured though an earlier sweep did.

        Raises:
            SpecError, TrainingError, OrchestratorError: refused before anything started.
        """
        spec = with_counted_epochs(spec)
        base = Path(out).absolute().parent if out is not None else Path("runs").absolute()
        if out is not None and is_address(str(out)):
            out, base = checked(str(out)), Path("runs").absolute()
            _check_forks(spec, out)
            check_new(out)
        tracking_uri, artifacts = default_tracking_uri(base / "out")
        depths = check_sweep(spec, tracking_uri, say)
        if address is None:
            check_machine(spec)
        if out is not None and not is_address(str(out)):
            check_output(out)
        return cls(spec, manifest(spec), depths, tracking_uri, artifacts, out=out, fresh=fresh)

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
        """Check that the sweep in ``directory`` can go on: what ended stays, what did not is run.

        Args:
            directory: a sweep's output folder.
            overrides: ``a.b=value`` each, changes of the recorded specification.
            more: searched trials per model on top of those recorded.
            accept: whether a specification that differs from the recorded one, for more than ``more``, is taken.
            address: Ray cluster that will be joined; None is a local Ray, which this machine must have room for.
            say: told what the check does and costs.

        Raises:
            OutputError: there is no sweep, another driver has it, the specification was edited without ``accept``, or
                so that values measured in two ways would stand on one front.
            SpecError, TrainingError: the changed specification is not usable.
        """
        directory = directory.absolute()
        bucket = address_of(directory)
        stored = None if bucket is None else StoredSweep.again(bucket)
        try:
            if stored is not None:
                directory = stored.folder
                for sentence in stored.said:
                    say(sentence)
            session = cls._again(directory, overrides, more, accept, address, say)
            if bucket is not None:
                _check_forks(session.spec, bucket)
        except BaseException:
            if stored is not None:
                stored.close()
            raise
        session.stored = stored
        return session

    @classmethod
    def _again(
        cls,
        directory: Path,
        overrides: Sequence[str],
        more: int,
        accept: bool,
        address: str | None,
        say: Callable[[str], None],
    ) -> Self:
        """:meth:`again` of a folder that is here."""
        events = read_journal(directory / JOURNAL)
        state = SweepState.of(events)
        recorded = recorded_spec(state, directory)
        try:
            there = (directory / SPEC).exists()  # else nobody has edited it
            edited = SweepSpec.model_validate(read_json(directory / SPEC)["spec"]) if there else recorded
        except (ValidationError, KeyError) as error:
            raise OutputError(
                f"{directory / SPEC} does not hold a valid spec ({error}): put the recorded one back"
            ) from error
        spec = with_counted_epochs(
            change_spec(edited, [*overrides, *([f"trials={edited.trials + more}"] if more else [])])
        )
        found = changes(recorded, spec)
        if not accept and [change for change in found if not (more and change.field == "trials")]:
            raise OutputError(refusal(directory, found))
        tracking_uri, artifacts = default_tracking_uri(directory)
        depths = check_sweep(spec, tracking_uri, say)
        if address is None:
            check_machine(spec)
        ran_with = manifest(spec, state.day)
        if {change.field.partition(".")[0] for change in found} & set(MEASURED_BY):
            _refuse_mixture(directory, state, recorded, spec, ran_with)
        journal = Journal(directory / JOURNAL, state=state)
        try:
            refuse_living(directory, say)
        except OutputError:
            journal.close()
            raise
        session = cls(spec, ran_with, depths, tracking_uri, artifacts, events, state, changed=found)
        session._directory, session._journal = directory, journal
        return session

    @property
    def directory(self) -> Path:
        """The sweep's folder; a new one has none before it is opened."""
        assert self._directory is not None, "open() makes the folder"
        return self._directory

    @property
    def fault(self) -> str | None:
        """Why this driver is no longer the one, in a sentence; None while it is."""
        if self.stored is not None and self.stored.fault is not None:
            return self.stored.fault
        return self._sign.fault if self._sign is not None else None

    @property
    def destination(self) -> Path | str:
        """Where the sweep's folder is, or will be made; one without ``--out`` may get a number then.

        Of one in a bucket its address.
        """
        if self.stored is not None:
            return self.stored.address
        if self._directory is None and self.out is not None and is_address(str(self.out)):
            return str(self.out)
        return self._directory or Path(self.out or Path("runs") / self.spec.name).absolute()

    @property
    def journal(self) -> Journal:
        """Where this driver records everything."""
        assert self._journal is not None, "open() makes the journal"
        return self._journal

    def remember(self, key: str, run_id: str) -> None:
        """Note in the journal which MLflow run stands for ``key``."""
        self.journal.append("mlflow_run", key=key, run_id=run_id)

    def open(self, *, quietly: bool = False) -> Self:
        """Make the folder of a new sweep, and record that this driver works on it from now on; once.

        Args:
            quietly: nothing is left to be done, and what stands in the journal of time spent stays true.

        Raises:
            OutputError: the folder cannot be made.
        """
        if self.opened:
            return self
        if self._directory is None:
            if self.out is not None and is_address(str(self.out)):
                self.stored = StoredSweep.new(str(self.out))
            self._directory = create_output(self.out, self.spec.name) if self.stored is None else self.stored.folder
            self._journal = Journal(self._directory / JOURNAL, state=self.state)
        self.opened, self.quiet = True, quietly
        (self.directory / STOP_REQUEST).unlink(missing_ok=True)
        self._sign = Sign(self.directory, self.journal.divert)
        if self.stored is not None:
            self.stored.start(lambda sentence: self.trouble(sentence))
        if quietly:
            return self
        if self.first:
            dumped = self.spec.model_dump(mode="json")
            self._record("sweep_started", spec=dumped, manifest=self.manifest)
            write_json(self.directory / SPEC, {"spec": dumped, "manifest": self.manifest})
        else:
            self._record("sweep_resumed", manifest=self.manifest, cut=self.journal.cut)
            if not (self.directory / SPEC).exists():
                write_json(
                    self.directory / SPEC, {"spec": self.spec.model_dump(mode="json"), "manifest": self.manifest}
                )
        if self.changed:
            self._change(self.changed)
            if self.stored is not None:  # before a slot could write what is to be removed
                self.stored.carry_now()
        return self

    def reuse(self, found: Sequence[Baseline]) -> None:
        """Record references that an earlier sweep measured as if this one had, and say so."""
        for one in found:
            for name, file in one.answers.items():
                copy = partial(copy_answers, file, self.directory / ANSWERS, name)
                once_there_is_room(copy, self.directory, self.journal.on_full)
            for event in one.events:
                told = {"reused": one.directory} if event["event"] == "trial_started" else {}
                fields = {name: value for name, value in event.items() if name not in ("event", "time", "reused")}
                self._record(event["event"], **fields, **told)
        for sentence in baselines_in_words(found):
            self._record("note", text=sentence)

    def close(self) -> None:
        """Let go of the folder; one that was not opened is as it was."""
        if self._sign is not None:
            self._sign.release()
        if self._journal is not None:
            self._journal.close()
        if self.stored is not None:
            self.stored.close()

    def remove_checkpoints(self, trial: str) -> None:
        """Let go of the weights of ``trial``."""
        shutil.rmtree(self.directory / CHECKPOINTS / trial, ignore_errors=True)
        if self.stored is not None:
            self.stored.remove_checkpoints(trial)

    @property
    def in_folder(self) -> bool:
        """Whether all machines see the sweep's folder: trials begin from others' checkpoints only there."""
        return not isinstance(self.destination, str)

    def keeps_fork(self, trial: str, step: int) -> bool:
        """Whether the checkpoint of ``trial`` after ``step`` is kept for others to begin from."""
        return self._directory is not None and (self._directory / FORKS / trial / step_name(step)).is_dir()

    def remove_forks(self, trial: str) -> None:
        """Let go of what others might have begun from."""
        shutil.rmtree(self.directory / FORKS / trial, ignore_errors=True)

    def _record(self, event: str, **fields: Any) -> None:
        self.events.append(self.journal.append(event, **fields))

    def _change(self, found: Sequence[Change]) -> None:
        """Record the new specification; half-trained trials start over where it changes how they are trained."""
        dumped = self.spec.model_dump(mode="json")
        self._record("spec_changed", spec=dumped, changes=[vars(change) for change in found])
        write_json(self.directory / SPEC, {"spec": dumped, "manifest": self.manifest})
        if any(change.field != "trials" for change in found):
            for record in self.known:
                self.remove_forks(record.id)
                if record.status in (Status.RUNNING, Status.STOPPED):
                    self.remove_checkpoints(record.id)


def _check_forks(spec: SweepSpec, address: str) -> None:
    if spec.searcher.forks:
        raise OutputError(
            f"searcher.forks (true) needs an output folder that all machines see, and {address} is in a bucket: leave "
            "searcher.forks out, or give --out a folder"
        )


def _refuse_mixture(
    directory: Path, state: SweepState, recorded: SweepSpec, spec: SweepSpec, ran_with: dict[str, Any]
) -> None:
    """Refuse a change by which one model's values would be measured in two ways and stand on one front.

    Raises:
        OutputError: it names the fields.
    """
    measured = {trial.model for trial in state.listed() if trial.status is Status.FINISHED}
    for model in spec.models:
        if model.name not in measured:
            continue
        then = Measured.of(recorded.model_dump(mode="json"), model.name, state.manifest)
        now = Measured.of(spec.model_dump(mode="json"), model.name, ran_with)
        fields = [name for name in differences(then.identity, now.identity) if name != "version"]
        if fields:
            raise OutputError(
                f"{', '.join(fields)}: changed, but {named(directory)} holds trials of {model.name} that were measured "
                "as it was, and one front cannot hold both: put it back, or start a new sweep with "
                f"searcher.warm_start=[{directory}], which tries the best settings of this one first"
            )
