"""The same global batch on one rank and on two, whatever DeepSpeed shards."""

import pytest
from ranks import on_ranks
from trajectories import trajectories, trajectory

from training.models import logits

pytestmark = [pytest.mark.xdist_group("ranks"), pytest.mark.usefixtures("process")]
LORA = {"type": "lora", "rank": 4}
FULL = {"type": "full"}


def _cases(stages, tunings):
    return [
        {"deepspeed": {"zero_stage": stage}, "tuning": tuning, **extra}
        for stage in stages
        for tuning in tunings
        for extra in ({"micro_batch_size": 2}, {"constraint": {"alpha": 0.5, "norm": "token_l2"}})
    ]


def in_chunks(cases):
    """The trajectories with the logits of five positions at a time; ranks differ in how many chunks that makes."""
    bound, logits.LOGIT_BYTES = logits.LOGIT_BYTES, 5 * 4 * 300
    try:
        return trajectories(cases)
    finally:
        logits.LOGIT_BYTES = bound


def _compare(cases, run=trajectories):
    for case, *found in zip(cases, *on_ranks(2, run, cases), strict=True):
        # One rank without sharding, accumulation or communication is the measure of all.
        alone = trajectory({**case, "deepspeed": {"zero_stage": 0}, "micro_batch_size": None})
        for rank in found:
            # float32 sums in another order; the tolerance covers six steps of AdamW on them.
            assert rank["loss"] == pytest.approx(alone["loss"], rel=1e-4), case
            assert rank["penalty"] == pytest.approx(alone["penalty"], rel=2e-3, abs=1e-5), case
            assert rank["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-3), case
            assert rank["weights"] == pytest.approx(alone["weights"], rel=1e-4), case
        assert alone["penalty"][0] < 1e-12 < alone["penalty"][-1]


def test_two_ranks_train_as_one():
    _compare(_cases((0, 2, 3), [LORA]) + _cases((3,), [FULL])[:1])


def test_two_ranks_with_logits_in_chunks_train_as_one_without():
    full = {"deepspeed": {"zero_stage": 3}, "tuning": FULL, "constraint": {"alpha": 0.5}}
    _compare([{**full, "gradient_checkpointing": True}], in_chunks)


@pytest.mark.slow
def test_two_ranks_train_as_one_at_every_stage():
    _compare(_cases((0, 1, 2, 3), [LORA, FULL]))
