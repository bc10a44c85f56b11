"""What a training measures of itself: both terms of the loss and the gradient norm, from report to report."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.distributed import ranks
from training.errors import DivergedError
from training.evaluation.scores import Scores

Diverged = Callable[[int, Tensor], DivergedError]
"""The error for a step (from 0) whose ``[cross-entropy, penalty, gradient norm]`` is not finite."""


@dataclass(frozen=True)
class StepReport:
    """What happened since the last report."""

    step: int
    """Optimizer steps done."""
    scores: Scores
    """Means over the steps since the last report and over all ranks; at a rung, what was measured."""
    rung: bool = False
    """Whether this is a measurement at a rung, made by rank 0, and not a training report."""


class Record:
    """Every step since the last report, kept on the device: no step waits for a number of its own."""

    def __init__(self, every: int, device: torch.device, diverged: Diverged) -> None:
        """Begin at step 0.

        Args:
            every: the most steps between two reports.
            device: of this rank.
            diverged: makes the error for a step that is not finite.
        """
        # This rank's shares of cross-entropy, penalty and gradient norm; their sums over the ranks are the values.
        self._terms = torch.zeros(every, 3, dtype=torch.float64, device=device)
        self._diverged = diverged
        self._first = 0
        self._alphas: list[float] = []
        self._tokens = 0
        self._since = time.perf_counter()

    def start_step(self, alpha: float, tokens: int) -> None:
        """Begin an optimizer step over ``tokens`` tokens of all ranks."""
        self._alphas.append(alpha)
        self._tokens += tokens

    def add(self, cross_entropy: Tensor, penalty: Tensor) -> None:
        """Add one forward pass of the running step: this rank's shares of the two global means."""
        row = self._terms[len(self._alphas) - 1]
        row[:2] += torch.stack([cross_entropy.detach(), penalty.detach()])

    def end_step(self, gradient_norm: Tensor | float) -> None:
        """End the running step, whose gradient had this global norm on every rank."""
        self._terms[len(self._alphas) - 1, 2] = gradient_norm / ranks.world_size()

    def check(self) -> Tensor:
        """Make sure that every step since the last report was finite; all ranks must call it.

        Returns:
            ``[steps, 3]`` cross-entropy, penalty and gradient norm of each, float64 on the CPU.

        Raises:
            DivergedError: one was not; on every rank alike, since all see the summed terms.
        """
        terms = ranks.sum_over_ranks(self._terms[: len(self._alphas)].clone()).cpu()
        finite = torch.isfinite(terms).all(dim=1)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            raise self._diverged(self._first + row, terms[row])
        return terms

    def close(self, learning_rate: float) -> StepReport:
        """The report over all ranks; it begins a new one.

        Raises:
            DivergedError: see :meth:`check`.
        """
        terms = self.check()
        seconds = time.perf_counter() - self._since
        cross_entropy, penalty, gradient_norm = terms.mean(dim=0).tolist()
        weighted = float((terms[:, 1] * torch.tensor(self._alphas, dtype=torch.float64)).mean())
        metrics = {
            "train/loss": cross_entropy,
            "train/penalty": penalty,
            "train/penalty_ratio": weighted / max(cross_entropy, 1e-12),
            "train/gradient_norm": gradient_norm,
            "train/tokens_per_second": self._tokens / seconds,
            "train/seconds": seconds,
            "train/learning_rate": learning_rate,
            "train/alpha": self._alphas[-1],
        }
        self._first += len(self._alphas)
        self._terms.zero_()
        self._alphas, self._tokens, self._since = [], 0, time.perf_counter()
        return StepReport(self._first, Scores(metrics))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While active, time does not count as training time."""
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin

    def state(self) -> dict[str, Any]:
        """What this rank needs to go on recording after a restart."""
        terms = self._terms[: len(self._alphas)].cpu().clone()
        return {"terms": terms, "alphas": list(self._alphas), "tokens": self._tokens, "first": self._first}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`; the clock starts anew, so the first speed reported is of fewer steps' time."""
        self._alphas, self._tokens, self._first = list(state["alphas"]), state["tokens"], state["first"]
        self._terms[: len(self._alphas)] = state["terms"].to(self._terms.device)
