"""Checkpoints of a running training, from which it goes on as if it had never stopped."""

import json
import shutil
from collections.abc import Sequence
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
from training.loop.checkpointing import Checkpointing, latest, point_to
from training.loop.forks import keep_fork_point
from training.loop.identity import Identity
from training.loop.names import MANIFEST_FILE, step_name
from training.loop.origin import Origin
from training.loop.unpickling import data_alone

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

_PARTIAL = "partial-"


class Kept(Protocol):
    """Something that a training goes on from besides its weights and optimizer; the same on every rank."""

    def save(self, directory: Path) -> None:
        """Write it into a checkpoint; on rank 0."""

    def load(self, directory: Path) -> None:
        """Take it from a checkpoint; any exception says that it is damaged."""


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


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
            self._shelf = BucketShelf(where.store, where.directory, where.keep, point_to, where.say)
        self._origin = Origin(where, self._shelf, self._identity, any_world_size=self._any_world_size)

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
        point_to(final)
        forking = self.where.forking
        if forking.directory is not None and forking.keeps(step):
            keep_fork_point(final, forking.directory, str(self.where.claim.attempt if self.where.claim else 0))
        for old in sorted(directory.glob("step-*"))[: -self.where.keep]:
            shutil.rmtree(old)

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
        found = self._origin.find()
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
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CheckpointError(
                f"the checkpoint {path} cannot be read ({reason}): remove {path.parent} to start over"
            ) from error
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

    def _tell_fork(self, step: int) -> None:
        fork = self.where.forking.start
        if fork is not None and step >= fork.step:
            fork.begins(None)

    def _load(self, engine: "DeepSpeedEngine", path: Path) -> dict[str, Any]:
        _, state = engine.load_checkpoint(
            str(path.parent), tag=path.name, load_module_strict=self._with_frozen, load_lr_scheduler_states=False
        )
        return dict(state)
