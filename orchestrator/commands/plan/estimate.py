"""``procon plan``: what a sweep would run, how long it takes, what it costs and whether it fits, before it starts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from orchestrator.driver.epochs import with_counted_epochs
from orchestrator.driver.fit import (
    Fit,
    available_memory,
    check_memory,
    check_memory_on_cluster,
    fit_of,
    memory_on_cluster,
    needs,
    remedy_sentence,
    workers_on_node,
)
from orchestrator.driver.model_files import SampleLength, model_shape, sample_length, thinking_warning
from orchestrator.driver.preflight import check_attention, check_sweep, does_not_fit
from orchestrator.driver.progress import duration
from orchestrator.errors import ClusterError
from orchestrator.record.machine import Machine, this_machine
from orchestrator.record.timings import USUAL, Stored, stored_figures, stored_frame
from orchestrator.slots.cluster import slots_that_fit
from orchestrator.tracking.tracker import default_tracking_uri
from sweeps.cost.cost import Frame, Work, cost, model_work, sweep_seconds
from sweeps.schema.budget import Budget, Spent
from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig
from training.data.chat_settings import ChatSettings
from training.models.located import local_directory
from training.organism.cache import build_seconds

Profile = Callable[[ModelConfig], Stored]
DEAR = 0.03
"""Share of a training's time that checkpoints may take without a word."""


@dataclass(frozen=True)
class ModelPlan:
    """What one model of the sweep takes."""

    name: str
    path: str
    depth: int
    built: bool
    """False for an embedded model that the sweep builds before its first trial."""
    work: Work
    length: SampleLength
    parameters: int | None
    """Weights; None where the architecture is not counted."""
    fit: Fit | None
    """What it needs of a worker, a node and the disk, and what there is; None where the architecture is not counted."""
    stored: Stored | None
    """Measured seconds; None where there are none."""
    build_seconds: float
    """What building it takes first; 0 where it is there."""
    thinking: str | None = None
    """Why its answers will be cut off, where it thinks before them and cannot end within ``max_new_tokens``."""

    @property
    def tokens(self) -> int:
        """Training tokens, at most."""
        return self.work.tokens(self.length.tokens)


@dataclass(frozen=True)
class Plan:
    """Everything that ``procon plan`` says."""

    spec: SweepSpec
    where: str
    """This machine, or the cluster's address."""
    nodes: list[dict[str, float]]
    """Resources of every node, as Ray names them."""
    fitting: int
    """Slots that there is room for."""
    models: list[ModelPlan]
    available: float | None
    """Bytes that one worker has for itself; None where that cannot be told from here."""
    frame: Frame = USUAL
    """What start and end take."""
    frame_measured: bool = False
    """Whether a sweep on this machine has shown it."""
    too_large: str | None = None
    """Why a model cannot be held by this machine, or the cluster, as it is configured; None where it can."""
    warnings: list[str] = field(default_factory=list)

    @property
    def refusal(self) -> str | None:
        """Why ``procon run`` would refuse, though nothing is wrong with the specification; None where it would not."""
        if self.fitting:
            return None if self.too_large is None else f"{self.too_large}: procon run would refuse"
        fault = does_not_fit(self.spec, self.nodes, self.where)
        return f"{fault}: procon run would refuse; plan for a cluster with --address, or lower resources"

    @property
    def slots(self) -> int:
        """Trials at once; 1 where not even one fits here."""
        jobs = sum(model.work.trials for model in self.models)
        return max(1, min(self.fitting or 1, self.spec.resources.max_concurrent or jobs, jobs))

    @property
    def seconds(self) -> float | None:
        """By the clock from the command to its end, if it goes as it did before; None where a model has no figures."""
        return self._seconds(at_most=False)

    @property
    def seconds_at_most(self) -> float | None:
        """The same, if every trial is repeated and minutes are slower; None where a model has no figures."""
        return self._seconds(at_most=True)

    def _seconds(self, *, at_most: bool) -> float | None:
        stored = [model.stored for model in self.models]
        figures = [one.figures for one in stored if one is not None]
        if len(figures) < len(stored):
            return None
        works = [model.work for model in self.models]
        built = sum(model.build_seconds for model in self.models)
        frame = replace(self.frame, seconds_start=self.frame.seconds_start + built)
        return sweep_seconds(works, figures, self.slots, frame, at_most=at_most)

    @property
    def estimate(self) -> Spent | None:
        """Hours, GPU-hours and money, at most; None where a model has no figures."""
        return None if self.seconds_at_most is None else cost(self.seconds_at_most, self.slots, self.spec.resources)

    @property
    def over_budget(self) -> str | None:
        """Which budget the sweep would spend before its end."""
        if self.seconds_at_most is None:
            return None
        return Budget(self.spec.budget, self.spec.resources).exceeded(
            self.seconds_at_most, self.slots * self.seconds_at_most
        )


def make_plan(
    spec: SweepSpec,
    address: str | None,
    measure: Profile | None = None,
    runs: Path = Path("runs"),
    say: Callable[[str], None] = lambda _sentence: None,
) -> Plan:
    """Check everything that ``procon run`` checks, and say what it would do; builds and loads nothing.

    Args:
        spec: a validated specification with absolute paths.
        address: Ray cluster whose resources count; None takes this machine's.
        measure: measures a model here; None takes stored figures.
        runs: where earlier sweeps are.
        say: told what the check does and costs.

    Raises:
        SpecError, TrainingError, OrchestratorError: the first fault, as ``procon run`` would refuse it.
    """
    spec = with_counted_epochs(spec)
    depths = check_sweep(spec, default_tracking_uri(runs.absolute() / spec.name)[0], say)
    if address is None:
        check_attention(spec)
    machine = this_machine()
    nodes = [machine.node] if address is None else cluster_nodes(address)
    fitting = slots_that_fit(nodes, spec.resources)
    work = model_work(spec)
    slots = max(1, min(fitting, spec.resources.max_concurrent or fitting))
    on_node = workers_on_node(spec.resources, nodes, slots)
    if address is None:
        available = available_memory(spec, machine, fitting)
    else:
        available = memory_on_cluster(spec.resources, nodes)
    place = _Place(available, on_node)
    models = [_model_plan(spec, model, depths[model.name], work, measure, runs, place) for model in spec.models]
    plan = Plan(
        spec=spec,
        where="this machine" if address is None else f"the cluster at {address}",
        nodes=nodes,
        fitting=fitting,
        models=models,
        available=available,
        too_large=_too_large(spec, machine if address is None else nodes),
    )
    frame, measured = stored_frame(plan.slots)
    plan = replace(plan, frame=frame, frame_measured=measured)
    plan.warnings.extend(_warnings(plan))
    return plan


def _too_large(spec: SweepSpec, place: Machine | list[dict[str, float]]) -> str | None:
    try:
        if isinstance(place, Machine):
            check_memory(spec, place)
        else:
            check_memory_on_cluster(spec, place)
    except ClusterError as error:
        return str(error)
    return None


def cluster_nodes(address: str) -> list[dict[str, float]]:
    """Resources of every living node of the Ray cluster at ``address``.

    Raises:
        ClusterError: it cannot be joined.
    """
    import ray

    from orchestrator.slots.cluster import connect, living_nodes

    connect(address, "procon-plan", gpus=False)
    try:
        return living_nodes()
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class _Place:
    """Where workers run."""

    available: float | None
    """Bytes that one has for itself."""
    on_node: int
    """Of all trials, on one node."""


def _model_plan(
    spec: SweepSpec, model: ModelConfig, depth: int, work: Work, measure: Profile | None, runs: Path, place: _Place
) -> ModelPlan:
    shape = model_shape(model)
    folder = local_directory(model, spec.data)
    return ModelPlan(
        name=model.name,
        path=model.path,
        depth=depth,
        built=not model.embedded or folder is not None,
        work=work,
        length=sample_length(folder, spec.data.task, work.max_length, ChatSettings.of(model, date.today())),
        parameters=shape.parameters if shape else None,
        fit=fit_of(spec, model, shape, place.available, place.on_node) if shape else None,
        stored=measure(model) if measure is not None else stored_figures(spec, model, runs),
        build_seconds=build_seconds(model) if model.embedded and folder is None else 0.0,
        thinking=thinking_warning(model, folder, spec.evaluation.max_new_tokens),
    )


def _warnings(plan: Plan) -> Sequence[str]:
    """What deserves a second look before the sweep starts."""
    found = []
    if plan.refusal:
        found.append(plan.refusal)
    for model in plan.models:
        found.extend(_memory_warnings(model))
        if model.thinking is not None:
            found.append(model.thinking)
        if not model.built:
            found.append(
                f"{model.name} is not built yet: procon run builds it first, which takes about "
                f"{duration(model.build_seconds)}"
            )
    if plan.over_budget:
        found.append(f"{plan.over_budget} at most before its end: it may stop early")
    return found


def _memory_warnings(model: ModelPlan) -> Iterator[str]:
    fit = model.fit
    if fit is None:
        return
    if fit.fits is False:
        yield f"{needs(model.name, fit)}: {remedy_sentence(fit)}"
    elif fit.remedies:
        yield f"{needs(model.name, fit)}, which no usual GPU holds; of 80 GB each, {remedy_sentence(fit)}"
    if fit.answers == 0:
        yield (
            f"{model.name} has no room to answer a single one of the longest prompts: lower evaluation.max_length or "
            "evaluation.max_new_tokens"
        )
    if model.stored is not None and fit.checkpoints.written > 10e9:
        pace = model.stored.figures.seconds_per_step
        share, cheapest = fit.checkpoints.share(pace), fit.checkpoints.cheapest(pace)
        if share > DEAR:
            yield (
                f"{model.name} writes {fit.checkpoints.bytes / 1e9:.0f} GB every {fit.checkpoints.every} steps, about "
                f"{share:.0%} of the time at 1 GB/s: trial.checkpoint_every {cheapest} costs least where a trial fails "
                "once a day"
            )
