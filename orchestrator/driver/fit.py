"""Whether the models of a sweep fit the devices they are trained on, and what would make them fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.driver.model_files import files_bytes, judge_bytes, model_shape
from orchestrator.errors import ClusterError
from orchestrator.record.machine import Machine, gibibytes, this_machine
from sweeps.cost.answering import answering_memory, answers_at_once
from sweeps.cost.cost import extreme_trials
from sweeps.cost.fitting import Remedy, Setup, remedies, smallest_device, usable
from sweeps.cost.memory import CONTEXT, Memory
from sweeps.cost.shape import Shape
from sweeps.cost.storage import Checkpoints, checkpoints, host_bytes
from sweeps.schema.resources import ResourcesConfig
from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig

ACCELERATORS = {
    "T4": 16,
    "A10G": 24,
    "L4": 24,
    "A100-40G": 40,
    "L40S": 48,
    "A100-80G": 80,
    "H100": 80,
    "H200": 141,
    "B200": 192,
}
"""Memory of GPUs by Ray's name of them, in units of 10^9 bytes; left out what comes in several sizes under one name."""


@dataclass(frozen=True)
class Fit:
    """What one model needs of a worker, a node and the disk, and what there is."""

    training: Memory
    answering: Memory
    """With as many answers at once as are asked for."""
    answers: int | None
    """How many of the longest answers fit at once; None where the device is unknown."""
    host: float
    """Bytes of a node's own memory, beside its devices."""
    checkpoints: Checkpoints
    smallest: int | None
    """The smallest usual GPU that trains it, in units of 10^9 bytes; None where none does."""
    available: float | None
    """Bytes that one worker has; None where that cannot be told from here."""
    room: float | None
    """Those of them that tensors can fill."""
    remedies: list[Remedy] = field(default_factory=list)
    """What would make it fit where it does not."""

    @property
    def fits(self) -> bool | None:
        """Whether it does; None where the device is unknown."""
        return None if self.room is None else self.training.total <= self.room

    @property
    def impossible(self) -> bool:
        """Whether what no shorter sample saves is more than there is."""
        return self.available is not None and self.training.certain > self.available


def fit_of(spec: SweepSpec, model: ModelConfig, shape: Shape, available: float | None, on_node: int) -> Fit:
    """What ``model`` takes under ``spec``, of the hungriest trial that the search can draw.

    Args:
        spec: a validated specification.
        model: one of its models.
        shape: of it.
        available: bytes that one worker has for itself; None where that is unknown.
        on_node: workers of all trials on one node.
    """
    gpu, workers = spec.resources.gpus_per_worker > 0, spec.resources.workers
    judges = judge_bytes(spec.evaluation, gpu=gpu)
    setups = [Setup(trial, workers) for trial in extreme_trials(spec)]
    setup = max(setups, key=lambda one: one.memory(shape, gpu=gpu).total)
    training = setup.memory(shape, judges=judges, gpu=gpu)
    room = None if available is None else usable(available, gpu=gpu)
    found: list[Remedy] = []
    if room is not None and training.total > room:
        found = remedies(shape, setup, room, on_node=on_node, judges=judges, gpu=gpu)
    elif room is None and gpu and smallest_device(training) is None:
        found = remedies(shape, setup, usable(80e9), on_node=on_node, judges=judges, gpu=gpu)
    most = None
    if room is not None:
        most = answers_at_once(shape, setup.trial, spec.evaluation, workers, room, judges=judges)
    return Fit(
        training=training,
        answering=answering_memory(shape, setup.trial, spec.evaluation, workers, judges=judges),
        answers=most,
        host=host_bytes(shape, setup.trial, workers, on_node, files_bytes(model, shape)),
        checkpoints=checkpoints(shape, setup.trial, any_size=spec.resources.min_workers is not None),
        smallest=smallest_device(training),
        available=available,
        room=room,
        remedies=found,
    )


def available_memory(spec: SweepSpec, machine: Machine, fitting: int) -> float | None:
    """Bytes that one worker has for itself: its part of a GPU, else of the machine's memory.

    None where workers want GPUs and this machine has none.
    """
    resources = spec.resources
    if resources.gpus_per_worker:
        smallest = min((gpu.memory for gpu in machine.gpus), default=None)
        return None if smallest is None else smallest * min(1.0, resources.gpus_per_worker)
    slots = max(1, min(fitting, resources.max_concurrent or fitting))
    return machine.memory / (slots * resources.workers)


def memory_on_cluster(resources: ResourcesConfig, nodes: Sequence[Mapping[str, float]]) -> float | None:
    """Bytes that one worker has of the smallest GPU of a cluster; None where Ray does not tell which GPUs it has."""
    sizes = []
    for node in nodes:
        if not node.get("GPU"):
            continue
        named = [name.removeprefix("accelerator_type:") for name in node if name.startswith("accelerator_type:")]
        known = [ACCELERATORS[name] for name in named if name in ACCELERATORS]
        if not known:
            return None
        sizes.append(min(known))
    if not sizes or not resources.gpus_per_worker:
        return None
    return min(sizes) * 1e9 * min(1.0, resources.gpus_per_worker)


def workers_on_node(resources: ResourcesConfig, nodes: Sequence[Mapping[str, float]], slots: int) -> int:
    """Workers of all trials that the roomiest node holds."""
    most = 1
    for node in nodes:
        room = node.get("CPU", 0.0) / resources.cpus_per_worker
        if resources.gpus_per_worker:
            room = min(room or float("inf"), node.get("GPU", 0.0) / resources.gpus_per_worker)
        most = max(most, int(room))
    return min(most, slots * resources.workers)


def check_memory(spec: SweepSpec, machine: Machine | None = None) -> None:
    """Refuse a model that this machine cannot hold as it is configured, however short its samples are.

    What does not fit by activations alone is left to try: samples are mostly shorter than ``max_length``.
    ``resources.check_memory: false`` refuses nothing.

    Args:
        spec: a validated specification.
        machine: what there is; None looks.

    Raises:
        ClusterError: naming the model, what it needs, what there is, and what would make it fit.
    """
    machine = machine or this_machine()
    _check(spec, spec.models, available_memory(spec, machine, fitting=1), on_node=max(1, len(machine.gpus)))


def check_memory_on_cluster(spec: SweepSpec, nodes: Sequence[Mapping[str, float]]) -> None:
    """:func:`check_memory` for the GPUs of a cluster, where Ray tells which they are.

    Args:
        spec: a validated specification.
        nodes: resources of every living node, as Ray names them.

    Raises:
        ClusterError: see :func:`check_memory`.
    """
    available = memory_on_cluster(spec.resources, nodes)
    _check(spec, spec.models, available, on_node=workers_on_node(spec.resources, nodes, slots=1))


def check_memory_of_one(spec: SweepSpec, model: ModelConfig, machine: Machine | None = None) -> None:
    """:func:`check_memory` for one training of ``spec.trial`` in one process, which takes a whole GPU where one is.

    Raises:
        ClusterError: see :func:`check_memory`.
    """
    machine = machine or this_machine()
    worker = {"workers": 1, "gpus_per_worker": 1.0 if machine.gpus else 0.0}
    alone = spec.without_search().model_copy(update={"resources": spec.resources.model_copy(update=worker)})
    _check(alone, [model], available_memory(alone, machine, fitting=1), on_node=1)


def _check(spec: SweepSpec, models: Sequence[ModelConfig], available: float | None, on_node: int) -> None:
    if available is None or not spec.resources.check_memory:
        return
    gpu = spec.resources.gpus_per_worker > 0
    for model in models:
        shape = model_shape(model)
        if shape is None:
            continue
        fit = fit_of(spec, model, shape, available - (CONTEXT if gpu else 0.0), on_node)
        where = f"models.{spec.models.index(model)}.path ({model.path}) cannot fit"
        if fit.impossible:
            raise ClusterError(
                f"{where} as configured: {needs(model.name, fit)}; {remedy_sentence(fit)}; "
                "resources.check_memory=false tries it all the same"
            )
        least = spec.resources.sizes[0]
        if least == spec.resources.workers or not gpu:  # without GPUs fewer workers have more memory each
            continue
        alone = spec.resources.model_copy(update={"workers": least, "min_workers": None})
        fit = fit_of(spec.model_copy(update={"resources": alone}), model, shape, available - CONTEXT, on_node)
        if fit.impossible:
            raise ClusterError(
                f"{where} a group that lost nodes: resources.min_workers lets it shrink to {least} of "
                f"{spec.resources.workers} workers, and "
                f"{needs(model.name, fit)}; raise it, or leave it out"
            )


def needs(name: str, fit: Fit) -> str:
    """What a worker needs and has, in words."""
    parts = " + ".join(f"{part} {gibibytes(value)}" for part, value in fit.training.parts.items())
    has = "" if fit.available is None else f" and has {gibibytes(fit.available)}"
    return f"{name} needs about {gibibytes(fit.training.total)} per worker {fit.training.moment} ({parts}){has}"


def remedy_sentence(fit: Fit) -> str:
    """What would make it fit, in words."""
    if not fit.remedies:
        larger = f"a GPU of {fit.smallest} GB would hold it" if fit.smallest else "no usual GPU would hold it"
        return f"no change of trial or workers that was tried makes it fit, and {larger}"
    told = [f"{' with '.join(one.changes)} ({gibibytes(one.memory.total)})" for one in fit.remedies]
    return f"what would fit: {', or '.join(told)}"
