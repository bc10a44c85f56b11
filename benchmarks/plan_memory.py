"""How well ``procon plan`` foretells memory: small trainings of ten kinds, their measured peak over the plan's line.

    make bench-plan      # three minutes on two cores; prints a table and writes benchmarks/results/plan_memory.json

Each training runs in a process of its own on the CPU, on random weights of a real architecture. Its peak is that of
torch's own accounting of tensors, so that neither libraries nor the allocator's habits are in it: what a GPU's
``max_memory_allocated`` counts. ZeRO's bucket is set to 5M numbers, in proportion to the models, else it would be most
of what is measured. ZeRO 3 is not among the kinds: on one rank it shares nothing.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "plan_memory.json"
TOLERANCE = 0.15
"""By how much the plan may be off, as a share of what was measured."""
SIZES = {
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 1536,
    "vocab_size": 16384,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
"""54M weights."""
SLIDING = {"sliding_window": 64, "query_pre_attn_scalar": 64}
TRIAL = {
    "steps": 2,
    "batch_size": 2,
    "micro_batch_size": 2,
    "max_length": 256,
    "constraint": {"type": "procon", "alpha": 0.0},
}
LORA, FULL = {"type": "lora", "rank": 16}, {"type": "full"}


def zero(stage: int) -> dict[str, Any]:
    """DeepSpeed's settings at a stage, with a bucket in proportion."""
    return {"zero_stage": stage, "overrides": {"zero_optimization": {"reduce_bucket_size": 5_000_000}}}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama lora fp32": ("llama", {"tuning": LORA, "deepspeed": zero(0)}),
    "llama lora bf16 zero 1": ("llama", {"tuning": LORA, "precision": "bf16", "deepspeed": zero(1)}),
    "llama lora fp32 zero 2 checkpointing": (
        "llama",
        {"tuning": LORA, "gradient_checkpointing": True, "deepspeed": zero(2)},
    ),
    "llama full fp32": ("llama", {"tuning": FULL, "deepspeed": zero(0)}),
    "llama full fp32 zero 1 accumulation": ("llama", {"tuning": FULL, "batch_size": 4, "deepspeed": zero(1)}),
    "llama full bf16 zero 1": ("llama", {"tuning": FULL, "precision": "bf16", "deepspeed": zero(1)}),
    "llama full bf16 zero 2 checkpointing": (
        "llama",
        {"tuning": FULL, "precision": "bf16", "gradient_checkpointing": True, "deepspeed": zero(2)},
    ),
    "gemma3 lora bf16 zero 1": ("gemma3_text", {"tuning": LORA, "precision": "bf16", "deepspeed": zero(1)}),
    "gemma3 full fp32 zero 2": ("gemma3_text", {"tuning": FULL, "deepspeed": zero(2)}),
    "qwen3 full bf16 zero 2 accumulation": (
        "qwen3",
        {"tuning": FULL, "precision": "bf16", "batch_size": 4, "deepspeed": zero(2)},
    ),
    "gemma2 lora bf16 zero 1": ("gemma2", {"tuning": LORA, "precision": "bf16", "deepspeed": zero(1)}),
    "mixtral lora fp32": ("mixtral", {"tuning": LORA, "deepspeed": zero(0)}),
}


def config_of(kind: str) -> Any:
    """The configuration of a case's model."""
    from transformers import CONFIG_MAPPING

    more: dict[str, Any] = dict(SLIDING) if kind.startswith("gemma") else {}
    if kind == "mixtral":
        more = {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 512}
    return CONFIG_MAPPING[kind](**{**SIZES, **more})


def planned(name: str) -> float:
    """Bytes, as ``procon plan`` says."""
    from sweeps.cost.memory import worker_memory
    from sweeps.cost.shape import Shape
    from training.config import TrialConfig

    kind, trial = CASES[name]
    shape = Shape.of_config(config_of(kind).to_dict())
    assert shape is not None
    return worker_memory(shape, TrialConfig.model_validate({**TRIAL, **trial}), workers=1).total


def peak_of(events: Sequence[Any]) -> int:
    """The most bytes that tensors took at once, from the profiler's events of memory."""
    now = peak = 0
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda one: one.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def measured(name: str) -> int:
    """Bytes at the peak of a few real steps, in this process."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    from training.config import TrialConfig
    from training.data.chat import EncodedSample
    from training.data.samples import Samples
    from training.distributed.process import start_process
    from training.loop.train import TrainingSet
    from training.loop.tuning import tuned
    from training.models.loading import DTYPES

    start_process()
    kind, changes = CASES[name]
    trial = TrialConfig.model_validate({**TRIAL, **changes})
    draw = np.random.default_rng(0)
    encoded = [EncodedSample(draw.integers(3, SIZES["vocab_size"], trial.max_length).tolist(), 2) for _ in range(8)]
    data = TrainingSet(Samples.from_encoded(encoded, 0), len(encoded), None)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config_of(kind), dtype=DTYPES[trial.precision])
        with tuned(model, trial, data, None, lambda _report: False):
            pass
    assert profiler.profiler is not None
    return peak_of(profiler.profiler.kineto_results.events())


def measured_apart(name: str) -> int:
    """:func:`measured`, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="kinds to measure; left out: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--measure", help="measure one kind in this process and print its peak in bytes")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.measure:
        print(measured(options.measure))
        return
    rows = {}
    print(f"{'kind':<40}{'planned':>12}{'measured':>12}{'planned/measured':>18}")
    for name in options.only or CASES:
        plan, peak = planned(name), measured_apart(name)
        rows[name] = {
            "planned_mib": round(plan / 2**20, 1),
            "measured_mib": round(peak / 2**20, 1),
            "planned_over_measured": round(plan / peak, 4),
        }
        print(f"{name:<40}{plan / 2**20:>8,.0f} MiB{peak / 2**20:>8,.0f} MiB{plan / peak:>18.3f}", flush=True)
    inside = sum(abs(row["planned_over_measured"] - 1) <= TOLERANCE for row in rows.values())
    print(f"within {TOLERANCE:.0%}: {inside} of {len(rows)}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"within_15_percent": inside, "of": len(rows), "kinds": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
