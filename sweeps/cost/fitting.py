"""What makes a model fit: the smallest device that holds it, and changes that are tried in the plan (pure)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from sweeps.cost.memory import CONTEXT, Memory, worker_memory
from sweeps.cost.shape import Shape
from training.config import FullTuning, LoraTuning, QLoraTuning, TrialConfig

DEVICES = (8, 12, 16, 24, 40, 48, 80, 141, 192)
"""Memory of usual GPUs, in units of 10^9 bytes."""
USABLE = 0.92
"""Share of a device's memory that tensors can fill: the rest is lost between them."""
MOST_WORKERS = 64


@dataclass(frozen=True)
class Setup:
    """How a model is tuned, and by how many."""

    trial: TrialConfig
    workers: int

    def memory(self, shape: Shape, *, judges: float = 0.0, gpu: bool = True) -> Memory:
        """What one worker needs."""
        return worker_memory(shape, self.trial, self.workers, judges=judges, gpu=gpu)


@dataclass(frozen=True)
class Change:
    """One change of a setup, and the field that it is made in."""

    said: str
    made: Callable[[Setup], Setup | None]
    """The setup with it; None where it changes nothing."""


@dataclass(frozen=True)
class Remedy:
    """Changes that together make a model fit."""

    changes: tuple[str, ...]
    memory: Memory


def usable(device: float, *, gpu: bool = True) -> float:
    """Bytes that tensors can fill of a device of ``device`` bytes."""
    return USABLE * device - (CONTEXT if gpu else 0.0)


def smallest_device(memory: Memory) -> int | None:
    """The smallest of :data:`DEVICES` that holds a worker, in units of 10^9 bytes; None where none does."""
    return next((size for size in DEVICES if memory.total <= usable(size * 1e9)), None)


def remedies(
    shape: Shape, setup: Setup, room: float, *, on_node: int = 1, judges: float = 0.0, gpu: bool = True
) -> list[Remedy]:
    """The mildest changes that make ``setup`` fit into ``room`` bytes of every worker, each tried in the plan.

    At most one set of changes of each kind: with the same workers, over more of them, and by training fewer weights or
    coarser ones.

    Args:
        shape: of the model.
        setup: what does not fit.
        room: bytes that tensors can fill.
        on_node: workers that a node has room for, in which more of them are said.
        judges: bytes of local judges on the same device.
        gpu: whether workers have devices of their own.
    """
    same = _same(setup, gpu=gpu)
    kinds = same, _more_workers(setup, on_node), _other_weights(setup, gpu=gpu)
    tried = (_fitting(shape, setup, kind, same, room, judges=judges, gpu=gpu) for kind in kinds)
    return [remedy for remedy in (next(found, None) for found in tried) if remedy is not None]


def _fitting(
    shape: Shape, setup: Setup, kind: list[Change], same: list[Change], room: float, *, judges: float, gpu: bool
) -> Iterator[Remedy]:
    """What fits of one change of ``kind`` with up to three of ``same``, fewest changes first."""
    for count in range(4):
        for first in kind:
            for others in combinations([change for change in same if change is not first], count):
                chosen = (first, *others)
                changed: Setup | None = setup
                for change in chosen:
                    changed = change.made(changed) if changed is not None else None
                if changed is None:
                    continue
                memory = changed.memory(shape, judges=judges, gpu=gpu)
                if memory.total <= room:
                    yield Remedy(tuple(change.said for change in chosen), memory)


def _same(setup: Setup, *, gpu: bool) -> list[Change]:
    """Changes that train the same with the same workers, mildest first."""
    found = []
    if not setup.trial.gradient_checkpointing:
        found.append(Change("trial.gradient_checkpointing: true", _set(gradient_checkpointing=True)))
    own = setup.trial.micro_batch_size or max(1, setup.trial.batch_size // setup.workers)
    found += [
        Change(f"trial.micro_batch_size: {size}", _set(micro_batch_size=size))
        for size in sorted({max(1, own // 2), max(1, own // 4), 1} - {own}, reverse=True)
    ]
    found += [
        Change(f"trial.deepspeed.zero_stage: {stage}", _stage(stage))
        for stage in (2, 3)
        if setup.workers > 1 and stage > setup.trial.zero_stage and _shards(setup.trial, stage)
    ]
    if gpu and setup.trial.zero_stage >= 1:
        offload = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}
        said = "trial.deepspeed.overrides: {zero_optimization: {offload_optimizer: {device: cpu}}}"
        found.append(Change(said, _override(offload)))
    return found


def _more_workers(setup: Setup, on_node: int) -> list[Change]:
    """ZeRO 3 over more workers, fewest first."""
    if not _shards(setup.trial, 3):
        return []
    return [
        Change(_over(workers, on_node), _spread(workers))
        for workers in (2, 4, 8, 16, 32, MOST_WORKERS)
        if workers > setup.workers and setup.trial.batch_size % workers == 0
    ]


def _other_weights(setup: Setup, *, gpu: bool) -> list[Change]:
    """Training fewer weights, or on coarser ones."""
    tuning = setup.trial.tuning
    found = []
    if isinstance(tuning, FullTuning):
        found.append(Change("LoRA (trial.tuning.type: lora)", _tune(LoraTuning())))
    if gpu and not isinstance(tuning, QLoraTuning) and setup.trial.zero_stage < 3:
        settings = tuning.model_dump(exclude={"type"}) if isinstance(tuning, LoraTuning) else {}
        found.append(Change("QLoRA (trial.tuning.type: qlora)", _tune(QLoraTuning.model_validate(settings))))
    return found


def _shards(trial: TrialConfig, stage: int) -> bool:
    """Whether the trial can run at a stage at all."""
    return _stage(stage)(Setup(trial, 1)) is not None


def _over(workers: int, on_node: int) -> str:
    nodes = -(-workers // max(1, on_node))
    where = f" over {nodes} nodes" if nodes > 1 else ""
    return f"ZeRO 3{where} (trial.deepspeed.zero_stage: 3, resources.workers: {workers})"


def _valid(trial: TrialConfig, changes: dict[str, Any]) -> TrialConfig | None:
    try:
        return TrialConfig.model_validate({**trial.model_dump(), **changes})
    except ValidationError:
        return None


def _changed(setup: Setup, workers: int | None = None, **changes: Any) -> Setup | None:
    count = workers or setup.workers
    trial = setup.trial
    share = trial.batch_size // count
    if workers is not None and trial.micro_batch_size is not None:
        changes["micro_batch_size"] = min(share, trial.micro_batch_size)
    changed = _valid(trial, changes)
    return None if changed is None else Setup(changed, count)


def _set(**changes: Any) -> Callable[[Setup], Setup | None]:
    return lambda setup: _changed(setup, **changes)


def _tune(tuning: LoraTuning | QLoraTuning) -> Callable[[Setup], Setup | None]:
    return lambda setup: _changed(setup, tuning=tuning.model_dump())


def _stage(stage: int) -> Callable[[Setup], Setup | None]:
    return lambda setup: _changed(setup, deepspeed={**setup.trial.deepspeed.model_dump(), "zero_stage": stage})


def _spread(workers: int) -> Callable[[Setup], Setup | None]:
    def made(setup: Setup) -> Setup | None:
        if workers <= setup.workers:
            return None
        return _changed(setup, workers, deepspeed={**setup.trial.deepspeed.model_dump(), "zero_stage": 3})

    return made


def _override(more: dict[str, Any]) -> Callable[[Setup], Setup | None]:
    def made(setup: Setup) -> Setup | None:
        settings = setup.trial.deepspeed.model_dump()
        zero = {**settings["overrides"].get("zero_optimization", {}), **more["zero_optimization"]}
        if zero == settings["overrides"].get("zero_optimization"):
            return None
        settings["overrides"] = {**settings["overrides"], "zero_optimization": zero}
        return _changed(setup, deepspeed=settings)

    return made
