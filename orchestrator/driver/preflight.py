"""Everything that is refused before anything starts: machine, models, layers, data, objectives, the MLflow store.

One check, whichever verb asks: what passes ``procon plan`` passes ``procon run``. Of models it reads configurations,
tokenizers and the headers of weights, of data every row; nothing is built, loaded or written.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

from pydantic import ValidationError

from orchestrator.driver.fit import check_memory
from orchestrator.errors import ClusterError
from orchestrator.record.machine import Machine, this_machine
from orchestrator.slots.cluster import slots_that_fit
from orchestrator.tracking.tracker import check_tracking
from sweeps.cost.cost import extreme_trials
from sweeps.errors import SpecError
from sweeps.goals.metrics import check_metric, is_own, names_of_rates
from sweeps.schema.spec import SweepSpec
from training.config import Column, TrialConfig
from training.evaluation.drawing import plain
from training.models.attention import attention_fault
from training.models.depth import depth_of
from training.models.located import local_directory
from training.models.width import written_width

NEEDED_COLUMNS: dict[str, tuple[Column, ...]] = {
    "task": ("prompt", "response"),
    "safety": ("prompt", "response"),
    "harmful": ("prompt",),
    "harmless": ("prompt",),
    "malicious": ("prompt", "response"),
    "borderline": ("prompt",),
    "harmful_sets": ("prompt",),
    "borderline_sets": ("prompt",),
    "capability_sets": ("prompt",),
}
"""Columns that a source must have, by its field under ``data``."""
SIZES_OF_GROUPS = ("zero_hpz_partition_size", "mics_shard_size")
"""Settings of DeepSpeed that split the workers of a trial evenly."""
OTHER_GPUS = Path("/dev/kfd")
"""There where a machine has AMD's, which Ray finds and we do not."""
SLOW = 1.0
"""Seconds from which on it is told how long the check took."""
Say = Callable[[str], None]


def _silent(_sentence: str) -> None:
    """Nobody listens."""


def check_sweep(spec: SweepSpec, tracking_uri: str, say: Say = _silent) -> dict[str, int]:
    """Check all that a sweep needs but the machine, see :func:`check_machine`; builds and loads nothing.

    Args:
        spec: a validated specification.
        tracking_uri: where MLflow runs would go.
        say: told what is being checked, and what that cost.

    Returns:
        Decoder layers by model name.

    Raises:
        SpecError, TrainingError, TrackingError: the first fault, as a sentence.
    """
    depths = check_measured(spec, say)
    check_tracking(tracking_uri)
    return depths


def check_measured(spec: SweepSpec, say: Say = _silent) -> dict[str, int]:
    """The part of :func:`check_sweep` that needs no MLflow store: all that training and measuring one trial takes.

    Raises:
        SpecError, TrainingError: the first fault, as a sentence.
    """
    from training.evaluation.judges import check_judges

    depths = check_specification(spec, say)
    check_judges(spec.evaluation.judges)
    if spec.evaluation.generator.type != "transformers":
        from training.evaluation.generators import check_generator  # imports torch

        check_generator(spec.evaluation, spec.models, _tunings(spec))
    _check_plugin_metrics(spec.evaluation.metrics)
    if spec.evaluation.lm_eval is not None:
        from training.evaluation.lm_eval import check_lm_eval  # imports torch

        check_lm_eval(spec.evaluation.lm_eval)
    return depths


def _tunings(spec: SweepSpec) -> list[TrialConfig]:
    """The trial as it stands, and one with each way of tuning that is searched."""
    searched = [
        spec.trial_config({path: value}, arm)
        for arm, ranges in spec.ranges_by_arm.items()
        for path in ("tuning", "tuning.type", "tuning.use_dora")
        if path in ranges
        for value in ranges[path].extremes()
    ]
    return [spec.trial, *searched]


def _check_plugin_metrics(names: Sequence[str]) -> None:
    """Refuse metrics of other packages that are called like one of our own, or cannot be imported."""
    for name in names:
        if is_own(name):
            raise SpecError(
                f"evaluation.metrics ({name}) is called like a metric that is measured in any case: "
                "the package that declares it must give it a name of its own"
            )
    if names:
        from training.evaluation.plugin_metrics import load_metrics  # imports torch

        load_metrics(names)


def check_specification(spec: SweepSpec, say: Say = _silent) -> dict[str, int]:
    """The part of :func:`check_measured` that needs no judge to be there: models, batches, layers, objectives, data.

    Raises:
        SpecError, TrainingError: the first fault, as a sentence.
    """
    begin = time.monotonic()
    safest = spec.reference_config("ift_safety")  # has the largest safety count of the search
    assert safest is not None
    trials = [*extreme_trials(spec), safest]
    _check_batches(spec)
    folders = _check_models(spec, say)
    depths = {model.name: depth_of(model) for model in spec.models}
    _check_depths(spec, depths)
    _check_widths(spec, folders)
    _check_refusals_judged(spec)
    _check_data(spec, trials, folders, say)
    seconds = time.monotonic() - begin
    if seconds > SLOW:
        say(f"models and data were checked in {seconds:.1f} s")
    return depths


def check_machine(spec: SweepSpec, machine: Machine | None = None) -> None:
    """Refuse a sweep that the local Ray of this machine could never run.

    Args:
        spec: a validated specification.
        machine: what there is; None looks.

    Raises:
        ClusterError: its workers do not fit, or a model does not fit the memory of one.
        SpecError: attention that cannot be computed here.
    """
    machine = machine or this_machine()
    node = machine.node
    node["CPU"] = max(node["CPU"], os.cpu_count() or 1)  # Ray counts cores that are not this process's too
    if "GPU" not in node and OTHER_GPUS.exists():
        return
    if not slots_that_fit([node], spec.resources):
        raise ClusterError(
            f"{does_not_fit(spec, [node], 'this machine')}: lower resources, or join a cluster with --address"
        )
    check_attention(spec)
    check_memory(spec, machine)


def check_attention(spec: SweepSpec) -> None:
    """Refuse attention that this machine lacks the package or the device for.

    Raises:
        SpecError: naming the field, its value and what is missing.
    """
    for index, model in enumerate(spec.models):
        fault = attention_fault(model.attn_implementation, gpu=spec.resources.gpus_per_worker > 0)
        if fault is not None:
            raise SpecError(f"models.{index}.{fault}")


def does_not_fit(spec: SweepSpec, nodes: Sequence[dict[str, float]], where: str) -> str:
    """That not one slot of ``spec`` fits ``nodes``, as the beginning of a sentence."""
    resources = spec.resources
    have = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    return (
        f"resources (workers {resources.workers} x {resources.cpus_per_worker:g} CPU, "
        f"{resources.gpus_per_worker:g} GPU) do not fit {where}, which has {have['CPU']:g} CPU and {have['GPU']:g} GPU"
    )


def _check_batches(spec: SweepSpec) -> None:
    """Refuse a batch that the workers cannot share, of the trial or anywhere in the search."""
    from training.distributed.deepspeed_config import BatchSizes

    for arm, ranges in spec.ranges_by_arm.items():
        fields = [path for path in ("batch_size", "micro_batch_size") if path in ranges]
        for values in product(*(ranges[path].grid(1) or ranges[path].extremes() for path in fields)):
            try:
                trial = spec.trial_config(dict(zip(fields, values, strict=True)), arm)
            except ValidationError:
                continue  # values that exclude each other, which no trial has
            BatchSizes.derive(trial, spec.resources.workers)
            for size in spec.resources.sizes:
                _check_groups(trial, size)


def _check_groups(trial: TrialConfig, workers: int) -> None:
    """Refuse groups of workers of one size, each of which keeps a whole copy, that leave some workers over."""
    for name in SIZES_OF_GROUPS:
        size = trial.deepspeed.overrides.get("zero_optimization", {}).get(name)
        if isinstance(size, int) and size > 0 and workers % size:
            raise SpecError(
                f"trial.deepspeed.overrides.zero_optimization.{name} ({size}) does not divide the {workers} workers "
                f"of a trial (resources.workers): use a divisor of {workers}, such as the workers on one node"
            )


def _check_models(spec: SweepSpec, say: Say) -> dict[str, Path | None]:
    """The folder of every model on this machine, by name; None of an embedded one that is not built yet."""
    folders: dict[str, Path | None] = {}
    others = [model.name for model in spec.models if not model.embedded]
    if others:
        say(f"checking the files of {', '.join(others)}")
    for index, model in enumerate(spec.models):
        if model.embedded:
            folders[model.name] = local_directory(model, spec.data)
            continue
        from training.preflight.models import check_model

        folders[model.name] = check_model(model, f"models.{index}.path", say)
    return folders


def _check_depths(spec: SweepSpec, depths: dict[str, int]) -> None:
    names = names_of_rates(spec.data, spec.evaluation)
    for name, depth in depths.items():
        try:
            spec.check_layers(depth)
        except ValueError as error:
            raise SpecError(f"trial.constraint.{error} (model {name})") from error
        try:
            spec.check_grid(depth)
        except ValueError as error:
            raise SpecError(f"{error} (model {name})") from error
        for index, objective in enumerate(spec.objectives):
            check_metric(objective.metric, f"objectives.{index}.metric", depth, names)
        for index, rule in enumerate(spec.feasible):
            check_metric(rule.metric, f"feasible.{index}", depth, names)


def _check_widths(spec: SweepSpec, folders: Mapping[str, Path | None]) -> None:
    for name, folder in folders.items():
        width = written_width(folder) if folder is not None else None
        if width is None:
            continue
        try:
            spec.check_directions(width)
        except ValueError as error:
            raise SpecError(f"trial.constraint.{error} (model {name})") from error


def _check_refusals_judged(spec: SweepSpec) -> None:
    """Refuse over-refusal as objective or rule where no judge asks what refused: a judge of harm cannot tell."""
    from training.evaluation.judges import build_judges

    if any(judge.asks == "refused" for judge in build_judges(spec.evaluation.judges, cache=None)):
        return
    wanted = {f"objectives.{index}": objective.metric for index, objective in enumerate(spec.objectives)}
    wanted |= {f"feasible.{index}": rule.metric for index, rule in enumerate(spec.feasible)}
    for field, metric in wanted.items():
        if metric.startswith(("safety/over_refusal", "safety/harmless_refused")):
            raise SpecError(
                f"{field} ({metric}) needs a judge that asks what refused, and evaluation.judges has none: "
                "add one, such as {type: phrases}"
            )


def _check_data(spec: SweepSpec, trials: list[TrialConfig], folders: dict[str, Path | None], say: Say) -> None:
    """Schemas first, then all rows, then first samples in the words of each model's template."""
    from training.data import check_source
    from training.preflight.data import check_lengths, check_rows

    for name, source in spec.data.sources.items():
        check_source(source, field=f"data.{name}", need=NEEDED_COLUMNS[name.partition(".")[0]])
    if spec.data.malicious is not None:
        from training.data.malicious import check_malicious

        check_malicious(spec.data, same=plain, count=max(trial.malicious_count for trial in trials))
    rows = check_rows(spec.data, spec.evaluation, spec.direction, trials)
    for index, model in enumerate(spec.models):
        folder = folders[model.name]
        if model.embedded:
            from training.preflight.embedded import check_embedded_lengths

            check_embedded_lengths(rows, folder, trials, spec.evaluation)
            continue
        assert folder is not None
        from training.preflight.models import check_architecture, model_tokenizer

        field = f"models.{index}.path"
        say(f"reading the tokenizer of {model.name} and first samples with it")
        check_architecture(folder, f"{field} ({model.path})")
        check_lengths(rows, model_tokenizer(folder, field, model), trials, spec.evaluation)
