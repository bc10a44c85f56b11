"""When the references are measured on their way, so that what fine-tuning does to a model can be seen as it happens."""

from sweeps.goals.pruning import PruningConfig

COURSE = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Shares of the steps, dense at the beginning: the direction drifts most in the first epoch (arXiv 2509.06795)."""


def course_steps(total_steps: int, pruning: PruningConfig | None) -> tuple[int, ...]:
    """The steps after which a reference of ``total_steps`` steps is measured: also those where trials are judged."""
    shares = {*COURSE, *(pruning.rungs if pruning else ())}
    steps = {max(1, round(share * total_steps)) for share in shares}
    return tuple(sorted(step for step in steps if step < total_steps))
