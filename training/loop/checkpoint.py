"""Checkpoints of a running training, from which it goes on as if it had never stopped."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import distributed

from training.config import FullTuning, TrialConfig
from training.data.batch_plan import PLAN
from training.distributed import ranks
from training.errors import CheckpointError
from training.loop import portable
from training.loop.averaging import WeightAverage
from training.loop.claim import Claim
from training.loop.unpickling import damaged_part, data_alone

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

log = logging.getLogger(__name__)

LATEST_FILE = "latest"
"""Names the newest complete checkpoint."""
MANIFEST_FILE = "checkpoint.json"
_PARTIAL = "partial-"
_DAMAGED = "damaged-"


@dataclass(frozen=True)
class Checkpointing:
    """Where the checkpoints of one trial go. On several machines the directory must be one that all of them share."""

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
    any_size: bool = False
    """Whether a group of another size may have to go on: :mod:`training.loop.portable` is then written as well, where
    ZeRO's shares would not let it. It takes as much room and time again."""
    leaves: Callable[[], bool] | None = None
    """Asked on rank 0 after every step: whether the machine will be taken away, so that the training has to be saved
    and to go on elsewhere. None where that cannot be."""


@dataclass(frozen=True)
class Identity:
    """What must be the same for a checkpoint to fit."""

    trial: dict[str, Any]
    """The trial's settings, as JSON."""
    data: str
    """Fingerprint of the samples."""
    model: str
    """Fingerprint of the untouched model."""
    world_size: int
    """Number of ranks."""


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


def _with_new_fields(trial: dict[str, Any]) -> dict[str, Any]:
    """Settings as an earlier version wrote them, with the defaults of the fields that came since."""
    try:
        return TrialConfig.model_validate(trial).model_dump(mode="json")
    except ValidationError:  # what this version does not understand is another trial
        return trial


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split()) or type(error).__name__
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

    def due(self, step: int, steps: int) -> bool:
        """Whether one is made after ``step`` of ``steps`` optimizer steps."""
        return step % self.where.every == 0 or step == steps

    def leaves(self) -> bool:
        """Whether the training has to go on elsewhere; all ranks must call it, between two optimizer steps."""
        asked = self.where.leaves
        return asked is not None and ranks.decision_of_rank_zero(ranks.rank() == 0 and asked(), self._device)

    @property
    def latest(self) -> Path | None:
        """The newest complete one."""
        return latest(self.where.directory)

    def save(
        self, engine: "DeepSpeedEngine", step: int, record: dict[str, Any], average: WeightAverage | None = None
    ) -> Path:
        """Write one and remove the oldest beyond ``keep``; all ranks must call it, between two optimizer steps.

        It is written under another name and renamed when complete, and ``latest`` moves after that: a process killed
        at any moment leaves the checkpoint before it whole and in use.

        Args:
            engine: holds model and optimizer.
            step: optimizer steps done.
            record: this rank's :meth:`training.loop.record.Record.state`.
            average: of the weights, where one is kept; the same on every rank.

        Returns:
            Its directory.

        Raises:
            CheckpointError: the trial was given to another worker, who goes on from an earlier one.
        """
        directory, name = self.where.directory, f"step-{step:08d}"
        ranks.from_rank_zero(lambda: self._make_room(directory))
        own = {"record": record, "random": _random_state(self._device)}
        everyone: list[Any] = [own]
        if ranks.world_size() > 1:
            everyone = [None] * ranks.world_size()
            distributed.all_gather_object(everyone, own)
        beside = {"step": step, "ranks": everyone}
        engine.save_checkpoint(
            str(directory),
            tag=self._partial(name),
            client_state=beside,
            save_latest=False,
            exclude_frozen_parameters=not self._with_frozen,
        )
        if self.where.any_size and not self._any_world_size:
            portable.write(engine, directory / self._partial(name), beside)
        if average is not None:
            ranks.from_rank_zero(lambda: average.save(directory / self._partial(name)))
        ranks.barrier()
        ranks.from_rank_zero(lambda: self._complete(directory, name, step))
        return directory / name

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
        manifest = {"step": step, "plan": PLAN, **vars(self._identity), "files": files}
        (written / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1))
        self._check_claim()
        if final.exists():  # of a training that was killed between the two renames
            shutil.rmtree(final)
        written.rename(final)
        self._point_to(final)
        for old in sorted(directory.glob("step-*"))[: -self.where.keep]:
            shutil.rmtree(old)

    def _point_to(self, path: Path) -> None:
        pointer = path.with_name(f"{LATEST_FILE}.new")
        pointer.write_text(path.name)
        os.replace(pointer, path.with_name(LATEST_FILE))

    def restore(
        self, engine: "DeepSpeedEngine", average: WeightAverage | None = None
    ) -> tuple[int, dict[str, Any] | None]:
        """Go on from the newest checkpoint that is whole: model, optimizer and random state; all ranks must call it.

        Args:
            engine: holds model and optimizer.
            average: of the weights, where one is kept.

        Returns:
            Optimizer steps done, and this rank's :meth:`training.loop.record.Record.state`; 0 and none at the start.

        Raises:
            CheckpointError: it belongs to another trial, other data, another model or another number of workers, or
                none can be read; or the trial was given to another worker.
        """
        ranks.from_rank_zero(self._take)
        found = self._whole()
        if found is None:
            return 0, None
        path, saved_world_size = found
        resized = saved_world_size != self._identity.world_size and not self._any_world_size
        try:
            with data_alone():
                state = portable.read(engine, path) if resized else self._load(engine, path)
                if average is not None:
                    average.load(path)
        except Exception as error:  # unpickling what is damaged raises anything
            raise _unreadable(path, error) from error
        everyone, rank = state["ranks"], ranks.rank()
        if rank < len(everyone):
            _set_random_state(everyone[rank]["random"], self._device)
        if saved_world_size == self._identity.world_size:
            return state["step"], everyone[rank]["record"]
        # Another number of ranks: rank 0 takes what all of them had recorded.
        record = dict(everyone[0]["record"])
        record["terms"] = sum(one["record"]["terms"] for one in everyone) if rank == 0 else record["terms"] * 0
        return state["step"], record

    def _load(self, engine: "DeepSpeedEngine", path: Path) -> dict[str, Any]:
        _, state = engine.load_checkpoint(
            str(path.parent), tag=path.name, load_module_strict=self._with_frozen, load_lr_scheduler_states=False
        )
        return dict(state)

    def _whole(self) -> tuple[Path, int] | None:
        """The checkpoint to go on from and its world size.

        The ranks share the reading of it; one that is damaged is put aside for the one before.
        """
        while (found := ranks.from_rank_zero(self._found)) is not None:
            files = sorted(found[0].glob("*.pt"))[ranks.rank() :: ranks.world_size()]
            damage = next((one for one in ranks.from_all_ranks(damaged_part(files)) if one), None)
            if damage is None:
                return found
            ranks.from_rank_zero(partial(self._put_aside, found[0], ValueError(damage)))
        return None

    def _take(self) -> None:
        """Make the folder ours, and empty where nothing shall be gone on with; runs on rank 0."""
        if not self.where.resume:
            shutil.rmtree(self.where.directory, ignore_errors=True)
        if self.where.claim is not None:
            self.where.claim.take(self.where.directory)

    def _found(self) -> tuple[Path, int] | None:
        """The newest checkpoint of the right size and its world size; runs on rank 0."""
        path = self.latest
        if path is None:
            return None
        try:
            manifest = json.loads((path / MANIFEST_FILE).read_text())
            saved = Identity(**{name: manifest[name] for name in vars(self._identity)})
            if manifest.get("plan", 1) != PLAN:
                self._start_over(path)
                return None
            for name, size in manifest["files"].items():
                found = (path / name).stat().st_size
                if found != size:
                    raise ValueError(f"{name} has {found} bytes instead of {size}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._put_aside(path, error)
            return self._found()
        self._refuse_others(path, saved)
        return path, saved.world_size

    def _put_aside(self, path: Path, error: Exception) -> None:
        """Go on from the checkpoint before ``path``, which is damaged; runs on rank 0.

        Raises:
            CheckpointError: there is none.
        """
        before = sorted(one for one in path.parent.glob("step-*") if one.name < path.name)
        if not before:
            raise _unreadable(path, error) from error
        self._point_to(before[-1])
        if path.exists():
            shutil.rmtree(path.with_name(_DAMAGED + path.name), ignore_errors=True)
            path.rename(path.with_name(_DAMAGED + path.name))
        reason = " ".join(str(error).split()) or type(error).__name__
        self.where.say(
            f"the checkpoint {path} is damaged ({reason}): this training goes on from the one before, {before[-1].name}"
        )

    def _start_over(self, path: Path) -> None:
        """The samples of the steps to come would be others than those that the steps before left over."""
        self.where.say(
            f"the checkpoint {path} was made by a version that put samples into batches otherwise: this training "
            "starts over from its first step"
        )
        shutil.rmtree(self.where.directory)
        self._take()

    def _refuse_others(self, path: Path, saved: Identity) -> None:
        own = self._identity
        trial = _with_new_fields(saved.trial)
        if trial != own.trial:
            before, now = _flat(trial), _flat(own.trial)
            changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
            shown = ", ".join(f"{name} {before.get(name)!r} there and {now.get(name)!r} here" for name in changed[:3])
            raise CheckpointError(
                f"the checkpoint {path} belongs to another trial ({shown}): use its settings, another checkpoint "
                "directory, or start over without resuming"
            )
        for field, what in (("data", "other samples"), ("model", "another model")):
            if getattr(saved, field) != getattr(own, field):
                raise CheckpointError(
                    f"the checkpoint {path} belongs to {what}: use the {field} it was made with, another checkpoint "
                    "directory, or start over without resuming"
                )
        if saved.world_size != own.world_size and not self._any_world_size and not portable.is_in(path):
            raise CheckpointError(
                f"the checkpoint {path} was made by {saved.world_size} workers and cannot be loaded by "
                f"{own.world_size}: use {saved.world_size} workers (only ZeRO stage 0 in fp32 resumes with another "
                "number, and what was written under resources.min_workers), or start over without resuming"
            )
