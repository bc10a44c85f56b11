"""What one worker does of a step, which ``procon plan --profile`` times."""

from typing import Any

import pytest
from small_sweeps import small_sweep

from orchestrator.commands.plan.profile import _share_of_one_worker
from sweeps.schema.spec import SweepSpec


@pytest.mark.parametrize(
    ("trial", "workers", "batch", "micro"),
    [
        ({"batch_size": 32}, 1, 32, 32),
        ({"batch_size": 32}, 4, 8, 8),
        ({"batch_size": 32, "micro_batch_size": 4}, 2, 16, 4),
        ({"batch_size": 32, "micro_batch_size": 32}, 2, 16, 16),
        ({"batch_size": 2}, 4, 1, 1),
    ],
)
def test_it_is_its_share_of_the_batch_reported_step_by_step(
    trial: dict[str, Any], workers: int, batch: int, micro: int
) -> None:
    spec = SweepSpec.model_validate(small_sweep(trial={"steps": 9, **trial}, resources={"workers": workers}))
    share = _share_of_one_worker(spec)
    assert (share.batch_size, share.micro_batch_size, share.log_every, share.steps) == (batch, micro, 1, 9)
