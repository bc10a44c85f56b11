"""One stage of ``benchmarks/gpu.py``, in this process; prints its result after every part of it."""

import argparse
import gc
import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from gpu import MARK
from gpu_models import config_of, direction_of, model_on, references_of, samples_of, shape_of

from sweeps.cost.fitting import usable
from sweeps.cost.memory import worker_memory
from training.config import TrialConfig

ALPHA = 0.1
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Size:
    """How much a stage does."""

    device: torch.device
    tiny: bool

    @property
    def length(self) -> int:
        """Tokens of the longest sample."""
        return 32 if self.tiny else 2048

    @property
    def steps(self) -> int:
        """Timed optimizer steps; one more warms up."""
        return 2 if self.tiny else 8

    def shape(self, name: str) -> str:
        """The shape that is used for ``name``."""
        return "tiny" if self.tiny else name

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def memory(self) -> int:
        """Bytes of the device; of 80 GB where there is none."""
        return torch.cuda.get_device_properties(self.device).total_memory if self.device.type == "cuda" else 80 * 10**9


def tell(result: dict[str, Any]) -> None:
    """Print what is known so far: the last line counts."""
    print(f"{MARK}{json.dumps(result)}", flush=True)


def trial_of(size: Size, tuning: str, **changes: Any) -> TrialConfig:
    """A trial of fixed length without checkpointing of activations, unless told otherwise."""
    tunings = {"lora": {"type": "lora", "rank": 16}, "qlora": {"type": "qlora", "rank": 16}, "full": {"type": "full"}}
    settings = {
        "tuning": tunings[tuning],
        "steps": size.steps + 1,
        "batch_size": 4 if size.tiny else 8,
        "micro_batch_size": 2,
        "max_length": size.length,
        "learning_rate": 1e-4,
        "precision": "bf16",
        "log_every": 1,
        "constraint": {"type": "procon", "alpha": 0.0},
        "deepspeed": {"zero_stage": 1},
    }
    return TrialConfig.model_validate({**settings, **changes})


def trained(size: Size, model: Any, trial: TrialConfig, *, spread: bool = False) -> dict[str, Any]:
    """Seconds a step, tokens a second, losses and peak memory of one training, of all but its first step."""
    from training.constraints import build_constraint
    from training.loop.train import TrainingSet, plan_of
    from training.loop.tuning import tuned

    config = model.config
    samples = samples_of(config.vocab_size, size.length, spread=spread)
    constraint = build_constraint(trial.constraint, direction_of(config), size.device)
    references = None if constraint is None else references_of(samples, config.num_hidden_layers)
    ends, losses = [], []

    def stamp(report: Any) -> bool:
        size.synchronise()
        ends.append(time.perf_counter())
        losses.append(report.scores.metrics["train/loss"])
        return False

    gc.collect()
    if size.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    data = TrainingSet(samples, len(samples), references)
    with tuned(model, trial, data, constraint, stamp):
        pass
    plan = plan_of(trial, data)
    seconds = [after - before for before, after in pairwise(ends)]
    tokens = samples.lengths[plan.steps[1:]].sum(axis=1).tolist()
    peak = torch.cuda.max_memory_allocated() if size.device.type == "cuda" else None
    return {
        "seconds_per_step": median(seconds),
        "tokens_per_second": median(count / taken for count, taken in zip(tokens, seconds, strict=True)),
        "losses": [round(float(loss), 4) for loss in losses],
        "peak_bytes": peak,
    }


def environment(size: Size) -> None:
    """What is there."""
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    names = ("torch", "transformers", "peft", "deepspeed", "ray", "datasets", "bitsandbytes", "flash-attn", "kernels")
    found: dict[str, Any] = {"python": platform.python_version(), **{name: installed(name) for name in names}}
    found["cuda"] = torch.version.cuda
    found["devices"] = [
        {"name": torch.cuda.get_device_name(index), "bytes": torch.cuda.get_device_properties(index).total_memory}
        for index in range(torch.cuda.device_count())
    ]
    if size.device.type == "cuda":
        numbers = torch.randn(1024, 1024, device=size.device, dtype=torch.bfloat16)
        found["multiplies"] = bool((numbers @ numbers).isfinite().all())
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    tell(found)


def training(size: Size, shape: str, tuning: str, *, layers: int | None = None) -> None:
    """Plain and constrained steps in turns, MFU, and memory over the plan."""
    from training.models.throughput import flops_per_token, peak_flops

    config = config_of(size.shape(shape), layers)
    checkpointing = shape == "8b"
    model = model_on(size.device, config)
    found: dict[str, Any] = {"layers": config.num_hidden_layers, "gradient_checkpointing": checkpointing}
    plain, held = [], []
    for turn in range(1 if size.tiny else 2):
        for alpha, rows in ((0.0, plain), (ALPHA, held))[:: 1 if turn % 2 == 0 else -1]:
            block = {"type": "procon", "alpha": alpha, "warmup_steps": "all"}
            trial = trial_of(size, tuning, constraint=block, gradient_checkpointing=checkpointing)
            rows.append(trained(size, model, trial))
        best = max(plain, key=lambda row: row["tokens_per_second"]) if plain else None
        if best is None or not held:
            continue
        found["tokens_per_second"] = round(best["tokens_per_second"], 1)
        found["procon_over_plain"] = round(
            min(row["seconds_per_step"] for row in held) / min(row["seconds_per_step"] for row in plain), 4
        )
        found["losses"] = best["losses"]
        per_token, peak = (
            flops_per_token(model, size.length / 2, full=tuning == "full"),
            peak_flops(size.device, "bf16"),
        )
        found["teraflops"] = round(best["tokens_per_second"] * per_token / 1e12, 3)
        if peak is not None:
            found["mfu"] = round(best["tokens_per_second"] * per_token / peak, 4)
        found |= against_plan(size, config, trial, best["peak_bytes"])
        tell(found)


def against_plan(size: Size, config: Any, trial: TrialConfig, peak: int | None) -> dict[str, Any]:
    """What the plan foretells, and what was measured."""
    planned = worker_memory(shape_of(config), trial, 1).total
    found: dict[str, Any] = {"planned_gib": round(planned / 2**30, 3)}
    if peak is not None:
        found |= {"measured_gib": round(peak / 2**30, 3), "planned_over_measured": round(planned / peak, 4)}
    return found


def full_8b(size: Size) -> None:
    """Full tuning at the width of an 8B model, with as many layers as the plan says fit."""
    trial = trial_of(size, "full", gradient_checkpointing=True)
    depths = [2] if size.tiny else [32, 24, 20, 16, 12, 8, 4]
    for layers in depths:
        needed = worker_memory(shape_of(config_of(size.shape("8b"), layers)), trial, 1).total
        if needed <= usable(size.memory()):
            return training(size, "8b", "full", layers=layers)
    return tell({"skipped": "not even four layers of an 8B model fit this device"})


def generation(size: Size) -> None:
    """Greedy answers to prompts of many lengths: tokens a second of ours and of transformers' ``generate``."""
    from training.models.batching import pad
    from training.models.generation import generate_tokens

    found: dict[str, Any] = {}
    for shape in ("1b", "8b")[: 1 if size.tiny else 2]:
        config = config_of(size.shape(shape))
        model = model_on(size.device, config)
        model.generation_config.eos_token_id = None
        rows, new = (4, 4) if size.tiny else (64, 128)
        draw = samples_of(config.vocab_size, size.length // 4, rows, spread=True)
        prompts = [draw.tokens[draw.offsets[i] : draw.offsets[i + 1]].tolist() for i in range(rows)]

        def ours(model: Any = model, prompts: Any = prompts, rows: int = rows, new: int = new) -> Any:
            return generate_tokens(model, prompts, end_ids=frozenset(), max_new_tokens=new, batch_size=rows)

        def theirs(model: Any = model, prompts: Any = prompts, new: int = new) -> Any:
            ids, mask = pad(prompts, padding_id=0, side="left", device=size.device)
            with torch.no_grad():
                return model.generate(
                    input_ids=ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False
                )

        for name, run in (("ours", ours), ("transformers", theirs)):
            run()  # warms up
            size.synchronise()
            begin = time.perf_counter()
            run()
            size.synchronise()
            found[f"{shape}_{name}_tokens_per_second"] = round(rows * new / (time.perf_counter() - begin), 1)
        both = found[f"{shape}_ours_tokens_per_second"], found[f"{shape}_transformers_tokens_per_second"]
        found[f"{shape}_over_transformers"] = round(both[0] / both[1], 3)
        tell(found)


def packing(size: Size) -> None:
    """Samples with the lengths of instruction data: one to a row, and packed, by each attention that is there."""
    found: dict[str, Any] = {}
    config = config_of(size.shape("1b"))
    kinds: list[tuple[str, str | None, bool]] = [("unpacked sdpa", "sdpa", False), ("packed sdpa", "sdpa", True)]
    for package, attention in (("flash_attn", "flash_attention_2"), ("flash_attn_interface", "flash_attention_3")):
        if size.device.type == "cuda" and importlib.util.find_spec(package) is not None:
            kinds.append((f"packed {attention}", attention, True))
        else:
            found[f"packed {attention}"] = f"skipped: {package} is not installed, or the device is no GPU"
    for name, attention, packed in kinds:
        model = model_on(size.device, config, attention)
        row = trained(size, model, trial_of(size, "lora", packing=packed), spread=True)
        found[name] = {"tokens_per_second": round(row["tokens_per_second"], 1), "losses": row["losses"]}
        tell(found)
        del model


def zero(size: Size) -> None:
    """One device at every stage: the losses must be the same, and the plan's memory is compared."""
    from training.distributed.deepspeed_config import sharding_config
    from training.distributed.gathering import gather_for_forward

    found: dict[str, Any] = {}
    config = config_of(size.shape("1b"))
    for stage in (0, 1, 2, 3):
        for tuning in ("lora", "full"):
            precision = "fp32" if stage == 0 else "bf16"  # in bf16, 0 is run as 1
            dtype = torch.float32 if stage == 0 else torch.bfloat16
            trial = trial_of(size, tuning, deepspeed={"zero_stage": stage}, precision=precision)
            model = model_on(size.device, config, dtype=dtype)
            if stage == 3:  # a trial there is of a model in shards
                gather_for_forward(model, sharding_config(trial))
            row = trained(size, model, trial)
            plan = against_plan(size, config, trial, row["peak_bytes"])
            found[f"{stage} {tuning} {precision}"] = {
                "tokens_per_second": round(row["tokens_per_second"], 1),
                "losses": row["losses"],
                **plan,
            }
            tell(found)
            del model


def qlora(size: Size) -> None:
    """4-bit weights through the product's own loader, from a folder of random weights."""
    from training.errors import ModelError
    from training.models.quantised import load_quantised_model

    config = config_of(size.shape("1b"))
    with tempfile.TemporaryDirectory() as folder:
        model_on(size.device, config).save_pretrained(folder)
        try:
            model = load_quantised_model(folder, "bf16", size.device)
        except ModelError as error:
            return tell({"skipped": str(error)})
    trial = trial_of(size, "qlora")
    row = trained(size, model, trial)
    plan = against_plan(size, config, trial, row["peak_bytes"])
    return tell({"tokens_per_second": round(row["tokens_per_second"], 1), "losses": row["losses"], **plan})


def tests(size: Size) -> None:
    """The tests that need a GPU; at toy size they are only collected."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/training"]
    if size.tiny:
        command.append("--collect-only")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    tell({"exit_code": done.returncode, "said": done.stdout[-2000:]})
    if done.returncode:
        raise SystemExit(done.returncode)


RUN: dict[str, Callable[[Size], None]] = {
    "environment": environment,
    "lora-1b": lambda size: training(size, "1b", "lora"),
    "lora-8b": lambda size: training(size, "8b", "lora"),
    "generation": generation,
    "full-1b": lambda size: training(size, "1b", "full"),
    "packing": packing,
    "zero": zero,
    "qlora": qlora,
    "full-8b": full_8b,
    "tests": tests,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=sorted(RUN))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device here: use --device cpu --tiny to try the stages without one")
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from training.distributed.process import start_process

    device = torch.device("cpu") if options.stage in ("environment", "tests") else start_process()
    if options.stage == "environment" and options.device == "cuda":
        device = torch.device("cuda", 0)
    RUN[options.stage](Size(device, options.tiny))


if __name__ == "__main__":
    main()
