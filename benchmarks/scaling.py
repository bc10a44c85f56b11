"""What a large sweep asks of the driver's machine, foretold from benchmarks/results/scale.json: what breaks first?

    python benchmarks/scaling.py                                             # 256 GPUs, 8B, 500 trials
    python benchmarks/scaling.py --gpus 64 --gpus-per-trial 8 --trial-seconds 14400 --trials 200

By a model of one line a part: so many seconds of a core a trial, so many bytes a slot. How long a trial takes is asked
of ``procon plan`` on the hardware in question; here it is an argument. ``--check`` compares the model, made of all
other measured sizes, with each measured size.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "scale.json"
GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """Costs of the orchestration, the highest of any measured size: what was measured once may be met again."""

    broker_seconds: float
    """Of a core, a trial; signs of life while it lasts are in it."""
    driver_seconds: float
    """Of a core, a trial: search, journal, MLflow, Tune."""
    slot_bytes: float
    """Of the driver's machine: a trial's actor and Ray Train's controller."""

    @classmethod
    def of(cls, results: dict[str, dict[str, float]], but: str | None = None) -> "Measured":
        """Of all sizes in ``results`` except the one called ``but``."""
        kept = [found for name, found in results.items() if name not in ("memory", but)]
        memory = results["memory"]
        return cls(
            max(_broker_seconds(found) for found in kept),
            max(each["driver_core_milliseconds_per_trial"] / 1e3 for each in kept if "driver_growth_megabytes" in each),
            2**20 * (memory["controller_megabytes"] + memory["trial_actor_megabytes"]),
        )


def _broker_seconds(found: dict[str, float]) -> float:
    return found["broker_share_of_a_core"] * found["mean_trial_seconds"] / found["slots"]


@dataclass(frozen=True)
class Sweep:
    """The sweep in question."""

    slots: int
    trials: int
    trial_seconds: float
    nodes: int
    model_bytes: float
    """Weights that every node reads once; its page cache has them for its other slots."""
    kept_bytes: float
    """Of a checkpoint."""
    checkpoints: int
    """A trial."""

    @property
    def rate(self) -> float:
        """Trials a second, once all slots work."""
        return self.slots / self.trial_seconds

    @property
    def hours(self) -> float:
        """By the clock, in rounds of full slots."""
        return math.ceil(self.trials / self.slots) * self.trial_seconds / 3600


def demands(sweep: Sweep, measured: Measured) -> list[tuple[str, str, str, float]]:
    """Part, what it is asked for, what there is, and the slots at which it is used up.

    A process is used up at half a core: what waits in line then waits as long as it is served. Of the head's memory 64
    GiB are counted on; of the shared storage 1 GB/s, of which a tenth may go into checkpoints.
    """
    broker, driver = measured.broker_seconds * sweep.rate, measured.driver_seconds * sweep.rate
    memory = measured.slot_bytes * sweep.slots
    writes = sweep.kept_bytes * sweep.checkpoints * sweep.rate
    loading = sweep.model_bytes * sweep.nodes / 1e9
    return [
        ("broker", f"{broker:.1%} of a core", "half a core", sweep.slots * 0.5 / broker),
        ("driver", f"{driver:.1%} of a core", "half a core", sweep.slots * 0.5 / driver),
        ("memory of the head", f"{memory / GIB:.0f} GiB", "64 GiB", sweep.slots * 64 * GIB / memory),
        ("checkpoints", f"{writes / 1e6:.1f} MB/s", "100 MB/s", sweep.slots * 1e8 / writes if writes else math.inf),
        ("weights at the start", f"{loading:,.0f} s", "a tenth of a trial", _loading_limit(sweep)),
    ]


def _loading_limit(sweep: Sweep) -> float:
    return sweep.slots * (0.1 * sweep.trial_seconds) / (sweep.model_bytes * sweep.nodes / 1e9)


def check(results: dict[str, dict[str, float]]) -> None:
    """Print, of every measured size, the broker's share that the others foretell, and the measured one."""
    for name, found in results.items():
        if name != "memory":
            others = {key: value for key, value in results.items() if key not in (name, "memory")}
            foretold = max(map(_broker_seconds, others.values())) * found["slots"] / found["mean_trial_seconds"]
            print(f"{name:12} broker {foretold:6.1%} foretold, {found['broker_share_of_a_core']:6.1%} measured")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpus", type=int, default=256)
    parser.add_argument("--gpus-per-trial", type=int, default=1)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--trial-seconds", type=float, default=1800.0, help="see procon plan --profile")
    parser.add_argument("--model-gigabytes", type=float, default=16.0, help="of weights: 8B in bf16 by default")
    parser.add_argument("--checkpoint-gigabytes", type=float, default=0.5, help="LoRA with AdamW's moments by default")
    parser.add_argument("--checkpoints", type=int, default=2, help="a trial")
    parser.add_argument("--check", action="store_true", help="compare the model with what was measured")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text())
    if options.check:
        check(results)
        return
    sweep = Sweep(
        options.gpus // options.gpus_per_trial,
        options.trials,
        options.trial_seconds,
        math.ceil(options.gpus / options.gpus_per_node),
        options.model_gigabytes * 1e9,
        options.checkpoint_gigabytes * 1e9,
        options.checkpoints,
    )
    print(f"{sweep.slots} slots, {sweep.trials} trials of {sweep.trial_seconds:,.0f} s: {sweep.hours:.1f} h\n")
    print(f"{'part':22}{'asked of it':>18}{'there is':>20}{'used up at':>16}")
    rows = sorted(demands(sweep, Measured.of(results)), key=lambda row: row[3])
    for part, asked, there, limit in rows:
        print(f"{part:22}{asked:>18}{there:>20}{'never' if math.isinf(limit) else f'{limit:,.0f} slots':>16}")
    print(f"\nfirst: {rows[0][0]}")


if __name__ == "__main__":
    main()
