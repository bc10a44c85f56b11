"""One trial as a Ray Train run of its own, as sweeps without warm slots do it; for benchmarks/orchestration.py.

Reads ``{"spec", "trial"}`` as JSON from standard input and prints ``{"fit_seconds", "busy_seconds"}``: the whole
``TorchTrainer.fit()`` on a Ray that is already up, and what of it was training and evaluation.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def loop(setup: dict[str, Any]) -> None:
    """Load everything, train, measure, write down the time it took."""
    from sweeps.schema.spec import SweepSpec
    from training.distributed.process import start_process
    from training.workbench import StepReport, Workbench

    start_process()
    spec = SweepSpec.model_validate(setup["spec"])
    busy = 0.0

    def count(report: StepReport) -> bool:
        nonlocal busy
        busy += report.scores.metrics.get("train/seconds", 0.0)
        return False

    bench = Workbench.of(spec.models[0], spec.data, spec.direction, spec.evaluation, Path(setup["work"]), day=None)
    measured = bench.run(spec.trial.model_validate(setup["trial"]), count)
    busy += measured.seconds
    Path(setup["work"], "busy.json").write_text(json.dumps(busy))


def main() -> None:
    work = Path(sys.argv[1])
    work.mkdir(parents=True)
    job = json.load(sys.stdin)
    from orchestrator.slots.cluster import connect

    connect(None, "cold", gpus=False)
    import ray
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    begin = time.perf_counter()
    TorchTrainer(
        loop,
        train_loop_config={**job, "work": str(work)},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(name="cold", storage_path=str(work)),
    ).fit()
    seconds = time.perf_counter() - begin
    busy = json.loads((work / "busy.json").read_text())
    ray.shutdown()
    print(json.dumps({"fit_seconds": seconds, "busy_seconds": busy}))


if __name__ == "__main__":
    main()
