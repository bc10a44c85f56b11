"""What bf16's rounding guard leaves of the penalty: at a bf16 run's own weights, step by step, beside float32.

    python benchmarks/bf16.py                    # a few minutes on a CPU; prints the table

A model with LoRA adapters is trained in bf16 as DeepSpeed trains it (float32 master weights of the adapters, bf16
copies of them in the forward pass), with and without the constraint. Before every step the penalty of its batch is
computed twice: by the training's own code in bf16, with the guard, and in float32 of the very same weights against
references of the same initial weights, where the guard is 65,536 times finer. Both see the same drift; what they
differ by is bf16's rounding, and what the guard takes for rounding. Random weights; a trained model's may differ.
"""

import argparse
import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import ProConConstraint, TrialConfig
from training.constraints import build_constraint
from training.constraints.procon import ProCon
from training.distributed.process import start_process
from training.loop.loss import ConstrainedLoss
from training.models.adapters import attach

TESTS = Path(__file__).parents[1] / "tests" / "training"
sys.path[:0] = [str(TESTS)]
WIDTH, BATCH, STEPS = 128, 16, 40
SHOWN = (1, 2, 5, 10, 20, 39)
"""Steps that were taken before the penalty is compared."""


def model_of(depth: int) -> Any:
    from tiny import tiny_llama

    return tiny_llama(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=depth, initializer_range=0.1
    ).bfloat16()


def penalty(
    model: Any, constraint: ProCon, samples: Any, chosen: Any, references: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy a token, and the penalty a token."""
    rows = references.of(chosen, list(constraint.layers))
    loss, total = ConstrainedLoss(model, constraint)(samples.collate(chosen), rows, True)
    tokens = float(samples.response_lengths[chosen].sum())
    return loss / tokens, total / tokens


def course(depth: int, rate: float, alpha: float) -> list[tuple[float, float]]:
    """Penalty before each step: (bf16 with the guard, float32), by the weights of the bf16 run."""
    from tiny import random_direction, random_samples, references_of

    samples, direction = random_samples(200), random_direction(depth, WIDTH)
    config = ProConConstraint(alpha=1.0, layers=list(range(depth)))
    constraint = build_constraint(config, direction, torch.device("cpu"))
    tuning = TrialConfig().tuning
    initial = model_of(depth)
    halved, exact = (references_of(one, samples, direction) for one in (initial, copy.deepcopy(initial).float()))
    model = attach(initial, tuning, 0).bfloat16()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    master = [parameter.detach().float().requires_grad_() for parameter in trained]
    optimizer = torch.optim.AdamW(master, lr=rate, weight_decay=0)
    draw, found = np.random.default_rng(0), []
    for _ in range(STEPS):
        chosen = draw.choice(len(samples), BATCH, replace=False)
        loss, held = penalty(model, constraint, samples, chosen, halved)
        with torch.no_grad():
            _, seen = penalty(copy.deepcopy(model).float(), constraint, samples, chosen, exact)
        found.append((held.item(), seen.item()))
        model.zero_grad()
        (loss + alpha * held).backward()
        for copied, parameter in zip(trained, master, strict=True):
            parameter.grad = copied.grad.float()
        optimizer.step()
        with torch.no_grad():
            for copied, parameter in zip(trained, master, strict=True):
                copied.copy_(parameter)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", nargs="*", type=int, default=[4, 16, 32])
    parser.add_argument("--rates", nargs="*", type=float, default=[2e-5, 2e-4, 2e-3])
    parser.add_argument("--alphas", nargs="*", type=float, default=[0.0, 0.3])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start_process()
    print("penalty in bf16 over float32's at the same weights (float32's in brackets), after so many steps")
    print(f"{'layers':>6}{'rate':>8}{'alpha':>7}" + "".join(f"{step:>16}" for step in SHOWN))
    for depth in arguments.depths:
        for rate in arguments.rates:
            for alpha in arguments.alphas:
                found = course(depth, rate, alpha)
                cells = [f"{found[step][0] / found[step][1]:.2f} ({found[step][1]:.4f})" for step in SHOWN]
                print(f"{depth:>6}{rate:>8.0e}{alpha:>7}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
