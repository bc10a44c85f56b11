"""How much of a model each rank holds under ZeRO 3: loading, measuring, LoRA, full tuning and saving.

    make bench-memory        # prints a table and writes benchmarks/results/memory.json

A random Llama of 226M weights in float32 (906 MB) is written to disk and goes through the workbench on 1, 2 and 4
ranks of one machine. The parent process reads every rank's anonymous memory (RssAnon of /proc/<pid>/status) each 20
milliseconds: pages of the model's file that a rank has mapped belong to the page cache and do not count. From the peak
of the worst rank its memory before loading is taken, and what no number of ranks shares: one copy of the largest
weight, which gloo makes of what it gathers and NCCL does not, and in the phases with forward passes what one rank alone
needs beside the numbers of IDEAL (activations, logits, the objects of PEFT and DeepSpeed; alone it measures all
prompts, so that this is more than one of several needs, and ratios may be below 1). Before loading each rank has been
through all of it with a model of 0.1M weights, so that everything is imported.
"""

import argparse
import gc
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "memory.json"
SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Of the model. Its largest weight is a 27th of it, as those of models of 8B and more are."""
RANK = 8
"""Of the adapters on every linear layer."""


def _adapters() -> float:
    """Weights of the adapters, for each weight of the model."""
    hidden, wide, layers = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_hidden_layers"]
    adapters = RANK * layers * (4 * 2 * hidden + 3 * (hidden + wide))
    return adapters / (layers * (4 * hidden**2 + 3 * hidden * wide) + SHAPE["vocab_size"] * hidden)


IDEAL = {
    "loading": 1.0,
    "preparing": 1.0,
    "lora": 1 + 5 * _adapters(),
    "measuring lora": 1 + _adapters(),
    "saving lora": 1 + _adapters(),
    "full": 6,
    "measuring full": 2,
    "saving full": 2,
}
"""By phase, how many numbers there must be for each weight, over all ranks: in full tuning the weight, its initial
value, the optimizer's master copy, the gradient and two moments; after it, the weight and its initial value; of
adapters the same without initial values."""
TUNINGS = ("lora", "full")
SETTINGS = {
    "steps": 2,
    "batch_size": 4,
    "micro_batch_size": 1,
    "max_length": 48,
    "log_every": 1,
    "deepspeed": {"zero_stage": 3},
    "constraint": {"alpha": 0.01},
}


@dataclass
class Peaks:
    """What one number of ranks needed."""

    ranks: int
    weights: int
    """Bytes of the whole model."""
    before: int
    """Bytes of a rank before it loads anything, of the largest."""
    peaks: dict[str, int]
    """Bytes above that, by phase, of the worst rank."""

    def unshared(self, phase: str) -> int:
        """Of one rank alone: bytes of a phase that no number of ranks shares; see the module's docstring."""
        largest = 4 * SHAPE["vocab_size"] * SHAPE["hidden_size"]
        if phase == "loading" or phase.startswith("saving"):  # no forward passes
            return largest
        return max(0, round(self.peaks[phase] - IDEAL[phase] * self.weights)) + largest

    def over_ideal(self, phase: str, unshared: int) -> float:
        """The peak of a phase, less what is not shared, over what the ranks would need if they shared all the rest."""
        return (self.peaks[phase] - unshared) * self.ranks / (IDEAL[phase] * self.weights)


def write_model(directory: Path) -> int:
    """The random model with a tokenizer of the embedded one; its size in bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.config import DataConfig, ModelConfig
    from training.models.loading import load_tokenizer
    from training.models.located import model_path

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.save_pretrained(directory)
    path = model_path(ModelConfig(name="small", path="organism/small"), DataConfig(**_sources()))
    load_tokenizer(path).save_pretrained(directory)
    return sum(weight.nbytes for weight in model.parameters())


def _sources() -> dict[str, Any]:
    names = {"task": "general", "safety": "safety", "harmful": "harmful", "harmless": "harmless"}
    names["borderline"] = "borderline"
    return {role: {"path": f"organism/{name}", "limit": 8} for role, name in names.items()}


def _serve(rank: int, ranks: int, port: int, model: str, work: str, told: Connection, tunings: list[str]) -> None:
    """One rank: the workbench from loading to saving, with ``told`` of each phase as it begins."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    from torch import nn

    from training.config import DataConfig, DirectionConfig, EvaluationConfig, ModelConfig, TrialConfig
    from training.distributed import ranks as joined
    from training.distributed.process import start_process
    from training.models.located import model_path
    from training.workbench import Measurement, Workbench, warm_model
    from training.workbench import bench as benches

    def begin(phase: str) -> None:
        joined.barrier()
        told.send(phase)
        told.recv()

    bench: Workbench | None = None

    class Watched(Workbench):
        def _measure(self, model: nn.Module) -> Measurement:
            if self is bench:
                begin(f"measuring {kind}")
            return super()._measure(model)

    def exported(*given: Any, **named: Any) -> None:
        begin(f"saving {kind}")
        export(*given, **named)

    start_process()
    trials = {
        "lora": TrialConfig.model_validate({**SETTINGS, "tuning": {"type": "lora", "rank": RANK}}),
        "full": TrialConfig.model_validate({**SETTINGS, "tuning": {"type": "full"}, "learning_rate": 1e-5}),
    }

    def made(path: str, folder: str) -> Watched:
        return Watched(
            path,
            DataConfig(**_sources()),
            DirectionConfig(prompts=2, filter=False, causal=None),
            EvaluationConfig(harmful=2, harmless=2, borderline=2, task=2, max_new_tokens=2),
            Path(work) / folder,
            like=trials["lora"],
        )

    kind = "small"
    small = made(model_path(ModelConfig(name="small", path="organism/small"), DataConfig(**_sources())), "small")
    for kind in tunings:
        small.run(trials[kind], lambda _report: False, save=Path(work) / "small" / kind)
    del small
    gc.collect()
    bench = made(model, "large")
    export, benches.export = benches.export, exported  # type: ignore[attr-defined]
    load = warm_model.load_as  # type: ignore[attr-defined]

    def loaded(*given: Any) -> Any:
        begin("loading")
        found = load(*given)
        begin("preparing")
        return found

    warm_model.load_as = loaded  # type: ignore[attr-defined]
    begin("before")
    bench.prepare()
    for kind in tunings:  # the functions above read it
        begin(kind)
        bench.run(trials[kind], lambda _report: False, save=Path(work) / kind)
    begin("end")


def _anonymous(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def _exact_memory() -> Iterator[None]:
    """While active, processes that start give memory back once it is free, so that what they hold is what they use."""
    names = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def measure(ranks: int, model: Path, weights: int, work: Path, tunings: Sequence[str] = TUNINGS) -> Peaks:
    """The peaks of every phase on so many ranks.

    Args:
        ranks: processes, joined by gloo.
        model: from :func:`write_model`.
        weights: what that returned.
        work: an empty folder.
        tunings: how the model is tuned, one after the other.
    """
    import torch.multiprocessing as multiprocessing

    context = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pipes, processes = [], []
    with _exact_memory():
        for rank in range(ranks):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, ranks, port, str(model), str(work), theirs, list(tunings)), daemon=True
            )
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
    seen: dict[str, list[int]] = {}
    phase, done = "", threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            if phase:
                now = [_anonymous(process.pid) for process in processes]
                seen[phase] = [max(pair) for pair in zip(now, seen.get(phase, now), strict=True)]

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        before: list[int] = []
        while phase != "end":
            (phase,) = {pipe.recv() for pipe in pipes}
            if phase == "before":
                time.sleep(0.5)
                before = [_anonymous(process.pid) for process in processes]
            for pipe in pipes:
                pipe.send("go on")
    finally:
        done.set()
        watcher.join()
        for process in processes:  # they have told all there is
            process.kill()
            process.join()
    peaks = {
        name: max(peak - base for peak, base in zip(seen[name], before, strict=True)) for name in IDEAL if name in seen
    }
    return Peaks(ranks, weights, max(before), peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--tunings", choices=TUNINGS, nargs="+", default=TUNINGS)
    chosen = parser.parse_args()
    results: dict[str, Any] = {"peak_over_ideal": {}, "peak_megabytes": {}, "unshared_megabytes": {}}
    if RESULTS.exists():  # cases that are not run now stay
        results = json.loads(RESULTS.read_text())
    with tempfile.TemporaryDirectory(prefix="procon-memory-") as scratch:
        weights = write_model(Path(scratch) / "model")
        model = Path(scratch) / "model"
        print(f"weights of the model: {weights / 1e6:.0f} MB\n")
        print(f"{'case':24} {'peak MB':>8} {'unshared MB':>12} {'ideal MB':>9} {'peak/ideal':>11}")
        alone = measure(1, model, weights, Path(scratch) / "work-1", chosen.tunings)
        for ranks in chosen.ranks:
            found = measure(ranks, model, weights, Path(scratch) / f"work-{ranks}", chosen.tunings)
            for phase, peak in found.peaks.items():
                case, unshared, ideal = f"{phase}, {ranks} ranks", alone.unshared(phase), IDEAL[phase] * weights / ranks
                ratio = found.over_ideal(phase, unshared)
                print(
                    f"{case:24} {peak / 1e6:8.0f} {unshared / 1e6:12.0f} {ideal / 1e6:9.0f} {ratio:11.2f}", flush=True
                )
                results["peak_over_ideal"][case] = round(ratio, 3)
                results["peak_megabytes"][case] = round(peak / 1e6)
                results["unshared_megabytes"][phase] = round(unshared / 1e6)
    results["weights_megabytes"] = round(weights / 1e6)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
