"""A plan as JSON and as tables."""

from collections.abc import Iterator
from typing import Any

from orchestrator.commands.plan.estimate import ModelPlan, Plan
from orchestrator.driver.fit import Fit
from orchestrator.driver.progress import duration
from orchestrator.driver.remarks import remarks
from orchestrator.record.machine import gibibytes
from orchestrator.terminal import Terminal
from sweeps.schema.spec import SweepSpec


def plan_json(plan: Plan) -> dict[str, Any]:
    """What ``procon plan --json`` prints; what is unknown is null."""
    return {
        "name": plan.spec.name,
        "where": plan.where,
        "concurrency": {"fitting": plan.fitting, "slots": plan.slots, "nodes": len(plan.nodes)},
        "models": {model.name: _model_json(model) for model in plan.models},
        "total": {
            "trials": sum(model.work.trials for model in plan.models),
            "steps": sum(model.work.total_steps for model in plan.models),
            "tokens": sum(model.tokens for model in plan.models),
        },
        "seconds": plan.seconds,
        "estimate": vars(plan.estimate) if plan.estimate else None,
        "memory_available": plan.available,
        "budget": plan.spec.budget.model_dump(),
        "over_budget": plan.over_budget,
        "remarks": remarks(plan.spec),
        "warnings": plan.warnings,
    }


def _model_json(model: ModelPlan) -> dict[str, Any]:
    work, stored = model.work, model.stored
    return {
        "path": model.path,
        "layers": model.depth,
        "parameters": model.parameters,
        "built": model.built,
        "trials": {
            "base": work.untrained,
            "references": work.references,
            "searched": work.searched,
            "replicates_at_most": work.replicates,
            "scaled_at_most": work.trained * work.scales,
        },
        "fork_points_at_most": work.fork_points,
        "forks_bytes_at_most": None if model.fit is None else work.forks_held(model.fit.checkpoints.bytes),
        "steps": work.total_steps,
        "steps_per_trial": work.steps,
        "tokens": model.tokens,
        "tokens_per_sample": model.length.tokens,
        "tokens_per_sample_measured": model.length.measured,
        "seconds_per_step": stored.figures.seconds_per_step if stored else None,
        "seconds_beside_steps": stored.figures.seconds_beside if stored else None,
        "seconds_once_a_slot": stored.figures.seconds_once if stored else None,
        "seconds_to_build": model.build_seconds,
        "figures_from": stored.source if stored else None,
        "memory": _memory_json(model.fit) if model.fit else None,
    }


def _memory_json(fit: Fit) -> dict[str, Any]:
    return {
        **vars(fit.training),
        "total": fit.training.total,
        "fits": fit.fits,
        "smallest_gpu_gb": fit.smallest,
        "would_fit": [{"changes": list(one.changes), "total": one.memory.total} for one in fit.remedies],
        "answering": {**vars(fit.answering), "total": fit.answering.total, "answers_that_fit": fit.answers},
        "host_per_node": fit.host,
        "checkpoint": fit.checkpoints.bytes,
        "checkpoints_written_per_trial": fit.checkpoints.written,
        "checkpoints_held": fit.checkpoints.held,
    }


def print_plan(plan: Plan, console: Terminal) -> None:
    """The plan as a person reads it."""
    for model in plan.models:
        _print_model(model, plan, console)
    _print_total(plan, console)
    for remark in remarks(plan.spec):
        console.say(remark)
    for warning in plan.warnings:
        console.say((warning, "yellow"))


def _print_model(model: ModelPlan, plan: Plan, console: Terminal) -> None:
    from rich.table import Table

    work, stored = model.work, model.stored
    replicates = f" + at most {work.replicates} replicates" if work.replicates else ""
    length = f"{model.length.tokens:.0f} tokens a sample"
    length += " on average" if model.length.measured else " at most: the bound max_length, samples were not read"
    table = Table(title=f"{model.name} ({model.path})", show_header=False, title_justify="left")
    table.add_row("model", f"{model.depth} layers, {_counted(model.parameters)} weights")
    table.add_row("trials", f"{work.trials} = 3 references + {work.searched} searched{replicates}")
    if work.fork_points:
        room = "" if model.fit is None else f", at most {_bytes(work.forks_held(model.fit.checkpoints.bytes))} of disk"
        table.add_row(
            "forks",
            f"trials begin from others that train alike, up to {_plural(work.fork_points, 'checkpoint')} of each kept "
            f"until all have begun{room}; steps that are shared are trained once",
        )
    if work.scales:
        table.add_row("scaled models", f"at most {work.scales} of every training, measured without training")
    table.add_row("steps", f"{work.total_steps:,} = {work.trained} trainings x at most {work.steps:,}")
    table.add_row("tokens", f"at most {model.tokens:,} = steps x {work.batch_size} samples x {length}")
    if stored is None:
        table.add_row(
            "speed", "unknown: no earlier sweep of this kind on this hardware; --profile measures a few steps"
        )
    else:
        beside = f"{stored.figures.seconds_beside:.1f} s a trial beside them"
        beside += f", {stored.figures.seconds_once:.0f} s once a slot for loading, direction and references"
        table.add_row("speed", f"{stored.figures.seconds_per_step:.3g} s a step, {beside} ({stored.source})")
    if model.fit is None:
        table.add_row("memory", "unknown: the weights of this architecture are not counted")
    else:
        for name, said in _memory(model.fit, plan.spec):
            table.add_row(name, said)
    console.print(table)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _counted(parameters: int | None) -> str:
    return "an unknown number of" if parameters is None else f"{parameters:,}"


def _memory(fit: Fit, spec: SweepSpec) -> Iterator[tuple[str, str]]:
    """Rows on memory and disk."""
    training, held = fit.training, fit.checkpoints
    parts = " + ".join(f"{name} {gibibytes(value)}" for name, value in training.parts.items())
    there = "what it has is unknown from here" if fit.available is None else f"it has {gibibytes(fit.available)}"
    yield "memory", f"about {gibibytes(training.total)} a worker {training.moment} = {parts}; {there}"
    if spec.resources.gpus_per_worker:
        said = "no usual GPU" if fit.smallest is None else f"a GPU of {fit.smallest} GB"
        yield "smallest", f"{said} for each of {_plural(spec.resources.workers, 'worker')}"
    asked, most = spec.evaluation.batch_size, fit.answers
    room = "" if most is None or most >= asked else f"; {most} of the longest fit at once, batches are halved to that"
    yield "answers", f"about {gibibytes(fit.answering.total)} for {asked} of the longest at once{room}"
    if spec.resources.gpus_per_worker:
        yield "host", f"about {gibibytes(fit.host)} a node, the model's files in the page cache included"
    yield (
        "checkpoints",
        f"{_bytes(held.bytes)} every {held.every} steps, {_bytes(held.written)} written a trial, at most "
        f"{_bytes(held.held)} on disk a running one",
    )


def _bytes(count: float) -> str:
    """As disks are sold."""
    return f"{count / 1e9:,.0f} GB" if count >= 10e9 else f"{count / 1e6:,.0f} MB"


def _print_total(plan: Plan, console: Terminal) -> None:
    from rich.table import Table

    resources, estimate = plan.spec.resources, plan.estimate
    table = Table(title=f"sweep {plan.spec.name} on {plan.where}", show_header=False, title_justify="left")
    table.add_row(
        "at once", f"{_plural(plan.slots, 'trial')} of {_plural(resources.workers, 'worker')}; room for {plan.fitting}"
    )
    if estimate is None:
        table.add_row("time", "unknown")
    else:
        table.add_row("time", _time(plan))
        if resources.gpus_per_worker:
            table.add_row("GPU-hours", f"at most {estimate.gpu_hours:.3g}")
    table.add_row("money", _money(plan))
    for name, limit in plan.spec.budget.model_dump(exclude_none=True).items():
        table.add_row(f"budget.{name}", f"{limit:g}")
    console.print(table)


def _time(plan: Plan) -> str:
    assert plan.seconds is not None
    assert plan.seconds_at_most is not None
    start = f"{plan.frame.seconds_start:.0f} s to start and {plan.frame.seconds_end:.0f} s to report"
    start += " included" if plan.frame_measured else " (a guess: no sweep has ended on this machine) included"
    repeated = ", or if every trial were repeated" if any(model.work.replicates for model in plan.models) else ""
    most = f"at most {duration(plan.seconds_at_most)} in slower minutes{repeated}"
    return f"about {duration(plan.seconds)}, {start}; {most}; pruning makes it less"


def _money(plan: Plan) -> str:
    price = plan.spec.resources.price_per_hour
    if price is None:
        return "unknown: the spec has no resources.price_per_hour"
    unit = "GPU" if plan.spec.resources.gpus_per_worker else "worker"
    if plan.estimate is None or plan.estimate.money is None:
        return f"unknown, at {price:g} for an hour of one {unit}"
    return f"at most {plan.estimate.money:.2f}, at {price:g} for an hour of one {unit}"
