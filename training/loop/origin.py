"""From which checkpoint a training goes on: the newest of its own that is whole, or that of another one."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from training.data.batch_plan import PLAN
from training.distributed import ranks
from training.loop.bucket_shelf import BucketShelf
from training.loop.checkpointing import Checkpointing, latest, point_to
from training.loop.forks import fork_fault
from training.loop.identity import Identity, read_manifest, refuse_others
from training.loop.names import step_name
from training.loop.unpickling import damaged_part

_DAMAGED = "damaged-"


@dataclass(frozen=True)
class _Unusable:
    """A checkpoint from which nothing goes on."""

    path: Path
    damage: str | None
    """What is damaged; None where it is whole, and of a version that made other batches."""


class Origin:
    """Finds it; every rank makes one and calls the same methods.

    Args:
        where: the training's checkpoints are.
        shelf: its place in a bucket, where it has one.
        identity: what a checkpoint has to belong to.
        any_world_size: whether a checkpoint of another number of workers will do as it is.
    """

    def __init__(
        self, where: Checkpointing, shelf: BucketShelf | None, identity: Identity, *, any_world_size: bool
    ) -> None:
        self._where = where
        self._shelf = shelf
        self._identity = identity
        self._any_world_size = any_world_size

    def find(self) -> tuple[Path, int] | None:
        """The checkpoint to go on from and its world size; None where the training begins. All ranks must call it.

        Raises:
            CheckpointError: it belongs to another trial, other data, another model or another number of workers, or the
                trial was given to another worker.
        """
        self._take(resume=self._where.resume)
        return self._whole() or self._forked()

    def _damage(self, path: Path) -> str | None:
        """What is wrong with the tensors of a checkpoint; the ranks share the reading."""
        files = sorted(path.glob("*.pt"))[ranks.rank() :: ranks.world_size()]
        return next((one for one in ranks.from_all_ranks(damaged_part(files)) if one), None)

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
                shutil.rmtree(self._where.directory, ignore_errors=True)
            if self._where.claim is not None:
                self._where.claim.take(self._where.directory)

        ranks.from_rank_zero(take)

    def _found(self) -> "tuple[Path, int] | _Unusable | None":
        """The newest checkpoint of the right size and its world size; runs on rank 0."""
        path = latest(self._where.directory)
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
        """Go on from the checkpoint before ``path``, which is damaged, or begin where there is none; runs on rank 0."""
        if self._shelf is not None:
            before = [one.name for one in self._shelf.store.published if one.name < path.name]
        else:
            before = sorted(one.name for one in path.parent.glob("step-*") if one.name < path.name)
        if self._shelf is not None:
            self._shelf.store.drop(path.name)
        elif before:
            point_to(path.with_name(before[-1]))
        if path.exists():
            shutil.rmtree(path.with_name(_DAMAGED + path.name), ignore_errors=True)
            path.rename(path.with_name(_DAMAGED + path.name))
        found = f"the checkpoint {path} is damaged ({damage})"
        if before:
            self._where.say(f"{found}: this training goes on from the one before, {before[-1]}")
        else:
            self._where.say(f"{found}, and there is none before it: this training starts over from its first step")

    def _start_over(self, path: Path) -> None:
        """The samples of the steps to come would be others than those that the steps before left over."""
        if ranks.rank() == 0:
            self._where.say(
                f"the checkpoint {path} was made by a version that put samples into batches otherwise: this training "
                "starts over from its first step"
            )
        self._take(resume=False)

    def _forked(self) -> tuple[Path, int] | None:
        """The checkpoint of another training to begin from, and its world size; None where there is none."""
        fork = self._where.forking.start
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
