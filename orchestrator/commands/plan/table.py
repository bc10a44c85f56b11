"""A plan as JSON and as tables."""

from typing import Any

from orchestrator.commands.plan.estimate import ModelPlan, Plan
from orchestrator.driver.progress import duration
from orchestrator.driver.remarks import remarks
from orchestrator.record.machine import gibibytes
from orchestrator.terminal import Terminal


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
        },
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
        "memory": {**vars(model.memory), "total": model.memory.total} if model.memory else None,
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
    table.add_row("memory", _memory(model, plan))
    console.print(table)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _counted(parameters: int | None) -> str:
    return "an unknown number of" if parameters is None else f"{parameters:,}"


def _memory(model: ModelPlan, plan: Plan) -> str:
    if model.memory is None:
        return "unknown: the weights of this architecture are not counted"
    parts = {name: value for name, value in vars(model.memory).items() if value and name != "host"}
    said = " + ".join(f"{name} {gibibytes(value)}" for name, value in parts.items())
    host = f", and {gibibytes(model.memory.host)} of optimizer states on the host" if model.memory.host else ""
    there = "what it has is unknown from here" if plan.available is None else f"it has {gibibytes(plan.available)}"
    return f"about {gibibytes(model.memory.total)} a worker = {said}{host}; {there}"


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
