"""Checkpoints of a running training, from which it goes on as if it had never stopped."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import distributed

from training.config import FullTuning, TrialConfig
from training.data.batch_plan import PLAN
from training.distributed import ranks
from training.errors import CheckpointError, StorageError
from training.loop import portable
from training.loop.bucket_shelf import BucketShelf
from training.loop.claim import Claim
from training.loop.forks import ALONE, Forking, fork_fault, keep_fork_point
from training.loop.identity import Identity, read_manifest, refuse_others
from training.loop.names import MANIFEST_FILE, step_name
from training.loop.unpickling import damaged_part, data_alone
from training.storage.checkpoints import StoredCheckpoints

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

log = logging.getLogger(__name__)

LATEST_FILE = "latest"
"""Names the newest complete checkpoint."""
_PARTIAL = "partial-"
_DAMAGED = "damaged-"


class Kept(Protocol):
    """Something that a training goes on from besides its weights and optimizer; the same on every rank."""

    def save(self, directory: Path) -> None:
        """Write it into a checkpoint; on rank 0."""

    def load(self, directory: Path) -> None:
        """Take it from a checkpoint; any exception says that it is damaged."""


@dataclass(frozen=True)
class Checkpointing:
    """Where the checkpoints of one trial go.

    On several machines the directory must be one that all of them share, or there must be a store.
    """

    directory: Path
    """Of this trial alone; made when the first checkpoint is."""
    every: int
    """Optimizer steps between two checkpoints; the last step gets one too."""
    keep: int = 2
    """How many of the newest stay."""
    resume: bool = True
    """Go on from the newest one where there is one; otherwise those found are removed and training starts over."""
    model: str = ""
    """Fingerprint of the untouched model, which a checkpoint of adapters does not contain."""
    say: Callable[[str], None] = log.warning
    """Told in a sentence what whoever trains should know; on rank 0."""
    claim: Claim | None = None
    """By which the directory is this training's; None where no other can want it."""
    store: StoredCheckpoints | None = None
    """Where they are kept in a bucket, under its claim; the directory is then this machine's alone."""
    any_size: bool = False
    """Whether a group of another size may have to go on: :mod:`training.loop.portable` is then written as well, where
    ZeRO's shares would not let it. It takes as much room and time again."""
    leaves: Callable[[], bool] | None = None
    """Asked on rank 0 after every step: whether the machine will be taken away, so that the training has to be saved
    and to go on elsewhere. None where that cannot be."""
    forking: Forking = ALONE
    """What is kept for other trainings, and from which of them this one begins."""


def latest(directory: Path) -> Path | None:
    """The newest complete checkpoint below ``directory``; None where there is none."""
    pointer = directory / LATEST_FILE
    if not pointer.exists():
        return None
    named = directory / pointer.read_text(errors="replace").strip()
    if named.parent == directory and named.is_dir():
        return named
    return max(directory.glob("step-*"), default=None)  # each is complete


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@dataclass(frozen=True)
class _Unusable:
    """A checkpoint from which nothing goes on."""

    path: Path
    damage: str | None
    """What is damaged; None where it is whole, and of a version that made other batches."""


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint {path} cannot be read ({reason}): remove {path.parent} to start over")


class Checkpoints:
    """The checkpoints of one training; every rank makes one and calls the same methods."""

    def __init__(self, where: Checkpointing, trial: TrialConfig, data: str, device: torch.device) -> None:
        """Remember where they are; nothing is read or written yet.

        Args:
            where: directory, frequency and what to keep.
            trial: its settings must be those of the checkpoint.
            data: fingerprint of the samples, which must be those of the checkpoint.
            device: of this rank.
        """
        self.where = where
        self._device = device
        self._identity = Identity(trial.model_dump(mode="json"), data, where.model, ranks.world_size())
        self._with_frozen = isinstance(trial.tuning, FullTuning)
        self._any_world_size = trial.zero_stage == 0
        self._last = trial.total_steps
        self._shelf: BucketShelf | None = None
        if where.store is not None:
            self._shelf = BucketShelf(where.store, where.directory, where.keep, self._point_to, where.say)

    def due(self, step: int, steps: int) -> bool:
        """Whether one is made after ``step`` of ``steps`` optimizer steps."""
        return step % self.where.every == 0 or step == steps or self.where.forking.keeps(step)

    def leaves(self) -> bool:
        """Whether the training has to go on elsewhere; all ranks must call it, between two optimizer steps."""
        asked = self.where.leaves
        return asked is not None and ranks.decision_of_rank_zero(ranks.rank() == 0 and asked(), self._device)

    @property
    def latest(self) -> Path | None:
        """The newest complete one."""
        return latest(self.where.directory)

    def save(self, engine: "DeepSpeedEngine", step: int, record: dict[str, Any], beside: Sequence[Kept] = ()) -> Path:
        """Write one and remove the oldest beyond ``keep``; all ranks must call it, between two optimizer steps.

        It is written under another name and renamed when complete, and ``latest`` moves after that: a process killed
        at any moment leaves the checkpoint before it whole and in use.

        Args:
            engine: holds model and optimizer.
            step: optimizer steps done.
            record: this rank's :meth:`training.loop.record.Record.state`.
            beside: what else the training goes on from.

        Returns:
            Its directory.

        Raises:
            CheckpointError: the trial was given to another worker, who goes on from an earlier one.
            StorageError: it is that of the last step, and the store refuses it; one before the last is then left out.
        """
        directory, name = self.where.directory, step_name(step)
        if self._shelf is None:
            ranks.from_rank_zero(lambda: self._make_room(directory))
        else:
            self._shelf.make_room(_PARTIAL)
        own = {"record": record, "random": _random_state(self._device)}
        everyone: list[Any] = [own]
        if ranks.world_size() > 1:
            everyone = [None] * ranks.world_size()
            distributed.all_gather_object(everyone, own)
        shared = {"step": step, "ranks": everyone}
        engine.save_checkpoint(
            str(directory),
            tag=self._partial(name),
            client_state=shared,
            save_latest=False,
            exclude_frozen_parameters=not self._with_frozen,
        )
        if self.where.any_size and not self._any_world_size:
            portable.write(engine, directory / self._partial(name), shared)
        for kept in beside:
            ranks.from_rank_zero(partial(kept.save, directory / self._partial(name)))
        ranks.barrier()
        if self._shelf is None:
            ranks.from_rank_zero(lambda: self._complete(directory, name, step))
        else:
            self._publish(self._shelf, name, step)
        return directory / name

    def _publish(self, shelf: BucketShelf, name: str, step: int) -> None:
        """Put it into the bucket; where that is out for long, the training goes on, and may lose more by a failure."""
        written, last = self.where.directory / self._partial(name), step == self._last

        def finish(files: dict[str, int]) -> Path:
            return self._write_manifest(written, step, files)

        try:
            shelf.publish(written, name, finish, last=last)
        except StorageError as error:
            if last:
                raise
            self.where.say(f"the checkpoint after step {step} is left out ({error}); the training goes on")
            shelf.give_up(written)

    def _write_manifest(self, written: Path, step: int, files: dict[str, int]) -> Path:
        manifest = {"step": step, "plan": PLAN, **vars(self._identity), "files": files}
        (written / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1))
        return written / MANIFEST_FILE

    def _partial(self, name: str) -> str:
        """What a checkpoint is called while it is written; no other attempt writes under that name."""
        claim = self.where.claim
        return _PARTIAL + (name if claim is None else f"{claim.attempt}-{name}")

    def _check_claim(self) -> None:
        if self.where.claim is not None:
            self.where.claim.check(self.where.directory)

    def _make_room(self, directory: Path) -> None:
        self._check_claim()
        directory.mkdir(parents=True, exist_ok=True)
        for left_over in directory.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left_over)

    def _complete(self, directory: Path, name: str, step: int) -> None:
        written, final = directory / self._partial(name), directory / name
        files = {file.name: file.stat().st_size for file in sorted(written.iterdir())}
        self._write_manifest(written, step, files)
        self._check_claim()
        if final.exists():  # of a training that was killed between the two renames
            shutil.rmtree(final)
        written.rename(final)
        self._point_to(final)
        forking = self.where.forking
        if forking.directory is not None and forking.keeps(step):
            keep_fork_point(final, forking.directory, str(self.where.claim.attempt if self.where.claim else 0))
        for old in sorted(directory.glob("step-*"))[: -self.where.keep]:
            shutil.rmtree(old)

    def _point_to(self, path: Path) -> None:
        pointer = path.with_name(f"{LATEST_FILE}.new")
        pointer.write_text(path.name)
        os.replace(pointer, path.with_name(LATEST_FILE))

    def restore(self, engine: "DeepSpeedEngine", beside: Sequence[Kept] = ()) -> tuple[int, dict[str, Any] | None]:
        """Go on from the newest checkpoint that is whole: model, optimizer and random state; all ranks must call it.

        Where there is none, from that of another training, where this one is a fork.

        Args:
            engine: holds model and optimizer.
            beside: what else it went on from.

        Returns:
            Optimizer steps done, and this rank's :meth:`training.loop.record.Record.state`; 0 and none at the start.

        Raises:
            CheckpointError: it belongs to another trial, other data, another model or another number of workers, or
                none can be read; or the trial was given to another worker.
        """
        self._take(resume=self.where.resume)
        found = self._whole() or self._forked()
        if found is None:
            return 0, None
        path, saved_world_size = found
        resized = saved_world_size != self._identity.world_size and not self._any_world_size
        try:
            with data_alone():
                state = portable.read(engine, path) if resized else self._load(engine, path)
                for kept in beside:
                    kept.load(path)
        except Exception as error:  # unpickling what is damaged raises anything
            raise _unreadable(path, " ".join(str(error).split()) or type(error).__name__) from error
        self._tell_fork(state["step"])
        everyone, rank = state["ranks"], ranks.rank()
        if rank < len(everyone):
            _set_random_state(everyone[rank]["random"], self._device)
        if saved_world_size == self._identity.world_size:
            return state["step"], everyone[rank]["record"]
        # Another number of ranks: rank 0 takes what all of them had recorded.
        record = dict(everyone[0]["record"])
        record["terms"] = sum(one["record"]["terms"] for one in everyone) if rank == 0 else record["terms"] * 0
        return state["step"], record

    def _forked(self) -> tuple[Path, int] | None:
        """The checkpoint of another training to begin from, and its world size; None where there is none."""
        fork = self.where.forking.start
        if fork is None:
            return None
        path = fork.directory / step_name(fork.step)
        fault = ranks.from_rank_zero(lambda: fork_fault(fork, self._identity, any_world_size=self._any_world_size))
        if fault is None:
            fault = self._damage(path)
            fault = None if fault is None else f"it is damaged: {fault}"
        if fault is not None:
            fork.begins(fault)
            return None
        return path, ranks.from_rank_zero(lambda: read_manifest(path)[0].world_size)

    def _tell_fork(self, step: int) -> None:
        fork = self.where.forking.start
        if fork is not None and step >= fork.step:
            fork.begins(None)

    def _damage(self, path: Path) -> str | None:
        """What is wrong with the tensors of a checkpoint; the ranks share the reading."""
        files = sorted(path.glob("*.pt"))[ranks.rank() :: ranks.world_size()]
        return next((one for one in ranks.from_all_ranks(damaged_part(files)) if one), None)

    def _load(self, engine: "DeepSpeedEngine", path: Path) -> dict[str, Any]:
        _, state = engine.load_checkpoint(
            str(path.parent), tag=path.name, load_module_strict=self._with_frozen, load_lr_scheduler_states=False
        )
        return dict(state)

    def _whole(self) -> tuple[Path, int] | None:
        """The checkpoint to go on from and its world size.

        The ranks share the reading of it; one that is damaged is put aside for the one before.
        """
        while True:
            if self._shelf is not None:
                self._shelf.fetch()
            found = ranks.from_rank_zero(self._found)
            if found is None:
                return None
            if isinstance(found, _Unusable) and found.damage is not None:
                ranks.from_rank_zero(partial(self._put_aside, found.path, found.damage))
                continue
            if isinstance(found, _Unusable):
                self._start_over(found.path)
                return None
            damage = self._damage(found[0])
            if damage is None:
                return found
            ranks.from_rank_zero(partial(self._put_aside, found[0], damage))

    def _take(self, *, resume: bool) -> None:
        """Make what there is ours, and empty where nothing shall be gone on with; all ranks must call it."""
        if self._shelf is not None:
            self._shelf.take(resume=resume)
            return

        def take() -> None:
            if not resume:
                shutil.rmtree(self.where.directory, ignore_errors=True)
            if self.where.claim is not None:
                self.where.claim.take(self.where.directory)

        ranks.from_rank_zero(take)

    def _found(self) -> "tuple[Path, int] | _Unusable | None":
        """The newest checkpoint of the right size and its world size; runs on rank 0."""
        path = self.latest
        if path is None:
            return None
        try:
            saved, plan = read_manifest(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return _Unusable(path, " ".join(str(error).split()) or type(error).__name__)
        if plan != PLAN:
            return _Unusable(path, None)
        refuse_others(path, saved, self._identity, any_world_size=self._any_world_size)
        return path, saved.world_size

    def _put_aside(self, path: Path, damage: str) -> None:
        """Go on from the checkpoint before ``path``, which is damaged; runs on rank 0.

        Raises:
            CheckpointError: there is none.
        """
        if self._shelf is not None:
            before = [one.name for one in self._shelf.store.published if one.name < path.name]
        else:
            before = sorted(one.name for one in path.parent.glob("step-*") if one.name < path.name)
        if not before:
            raise _unreadable(path, damage)
        if self._shelf is not None:
            self._shelf.store.drop(path.name)
        else:
            self._point_to(path.with_name(before[-1]))
        if path.exists():
            shutil.rmtree(path.with_name(_DAMAGED + path.name), ignore_errors=True)
            path.rename(path.with_name(_DAMAGED + path.name))
        self.where.say(
            f"the checkpoint {path} is damaged ({damage}): this training goes on from the one before, {before[-1]}"
        )

    def _start_over(self, path: Path) -> None:
        """The samples of the steps to come would be others than those that the steps before left over."""
        if ranks.rank() == 0:
            self.where.say(
                f"the checkpoint {path} was made by a version that put samples into batches otherwise: this training "
                "starts over from its first step"
            )
        self._take(resume=False)
