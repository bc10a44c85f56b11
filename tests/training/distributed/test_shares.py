"""Work shared by ranks: measurements of two are those of one, and an error on one is an error on all."""

import copy
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from benches import bench, write_files
from ranks import on_ranks

from training.config import TrialConfig
from training.distributed import engine as engines
from training.distributed import lockstep, ranks
from training.distributed.deepspeed_config import BatchSizes
from training.distributed.lockstep import in_step
from training.distributed.ranks import FailedAlone
from training.distributed.sharding import sharded
from training.distributed.shares import OtherRankFailed, share_of, shared_out, together
from training.errors import ModelError
from training.evaluation.measure import measure_without_generation
from training.evaluation.scores import Scores
from training.loop.loss import ConstrainedLoss
from training.models import logits
from training.models.batching import BatchSize
from training.models.generation import generate_tokens

pytestmark = [pytest.mark.xdist_group("ranks"), pytest.mark.usefixtures("process")]
SETS = {"harmful": 5, "harmless": 3, "borderline": 2, "task": 3, "batch_size": 3, "max_new_tokens": 4}
"""Sizes that two ranks cannot share alike, in batches of three."""


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_shares_are_alike_and_leave_nothing_out(world_size):
    costs = [(7 * index) % 50 + 1 for index in range(53)]
    shares = [share_of(costs, rank, world_size) for rank in range(world_size)]
    assert sorted(index for share in shares for index in share) == list(range(53))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    sums = [sum(costs[index] for index in share) for share in shares]
    assert max(sums) - min(sums) <= max(costs)
    assert all(costs[one] >= costs[other] for share in shares for one, other in pairwise(share))


def _shards(model: torch.nn.Module) -> torch.nn.Module:
    """A copy that ZeRO 3 took apart."""
    trial = TrialConfig.model_validate({"batch_size": 2, "tuning": {"type": "full"}, "deepspeed": {"zero_stage": 3}})
    module = ConstrainedLoss(copy.deepcopy(model).requires_grad_(True), None)
    return engines.initialise(module, trial, BatchSizes.derive(trial, ranks.world_size())).module.model


def _words(measured: Any) -> Scores:
    """A metric of another package that runs the model: the answers' words, and the rows its own forward pass had."""
    with torch.no_grad():
        rows = len(measured.model(input_ids=torch.ones(2, 3, dtype=torch.long)).logits)
    return Scores({"words": float(sum(len(answer.answer.split()) for answer in measured.answers)), "words/rows": rows})


def measured(argument: dict[str, Any]) -> dict[str, Any]:
    """What this rank finds, of the whole model or of shards, with a small bound on logits."""
    made = bench(Path(argument["directory"]))
    made.evaluation = made.evaluation.model_copy(update=SETS)
    made.prepare()
    made._measuring.metrics = {"words": _words}
    bound, logits.LOGIT_BYTES = logits.LOGIT_BYTES, 4 * 4 * 300
    try:
        model = _shards(made.model) if argument["sharded"] else made.model
        assert sharded(model) == argument["sharded"]
        found = made._measure(model)
        rung = measure_without_generation(model, made.tokenizer, made.sets, made.drift_reference.of)
    finally:
        logits.LOGIT_BYTES = bound
    answers = [{name: row[name] for name in ("set", "prompt_id", "answer", "refused")} for row in found.answers]
    return {"metrics": found.report.metrics, "answers": answers, "rung": rung.metrics, "errors": found.report.errors}


def test_two_ranks_measure_what_one_does(tmp_path, chat_tokenizer):
    write_files(tmp_path, chat_tokenizer)
    alone = measured({"directory": str(tmp_path), "sharded": False})
    assert len({row["answer"] for row in alone["answers"]}) > 5
    for shards in (False, True):
        for found in on_ranks(2, measured, {"directory": str(tmp_path), "sharded": shards}):
            assert found["answers"] == alone["answers"]
            for part in ("metrics", "rung", "errors"):
                # float32 sums of other batches
                assert found[part] == pytest.approx(alone[part], rel=1e-5, abs=1e-6, nan_ok=True), (shards, part)


def _fails_on_the_second(argument: str) -> str:
    """How each rank fails where the second cannot do its share."""

    def work(chosen: list[int]) -> list[int]:
        if ranks.rank() == 1:
            raise ModelError("the second cannot")
        return chosen

    with pytest.raises(ModelError, match="the second cannot"):
        shared_out([1, 2, 3], work)
    assert shared_out([1, 2, 3], lambda chosen: [10 * index for index in chosen]) == [0, 10, 20]

    from tiny import tiny_llama

    model, prompts = _shards(tiny_llama()), [[5, 6, 7]] * (1 + 2 * ranks.rank())

    def generated() -> int:
        return len(generate_tokens(model, prompts, end_ids=frozenset(), max_new_tokens=6, batch_size=1))

    # Of three answers to one: the first rank keeps step with a dummy.
    assert together(generated) == [1, 3]

    # Rows end and others join at times of each rank's own, in step all the same.
    several = [[3 + (5 * row + 7 * place) % 290 for place in range(3 + row % 5)] for row in range(11)]
    free = generate_tokens(tiny_llama(), several, end_ids=frozenset(), max_new_tokens=9, batch_size=11)
    ends = frozenset({free[0][1], free[3][4], free[6][6]})
    whole = generate_tokens(tiny_llama(), several, end_ids=ends, max_new_tokens=9, batch_size=11)
    assert len({len(answer) for answer in whole}) > 2
    mine = range(ranks.rank(), 11, 1 + ranks.rank())  # 11 of them, and 5
    asked = [several[index] for index in mine]
    found = together(lambda: generate_tokens(model, asked, end_ids=ends, max_new_tokens=9, batch_size=3))[ranks.rank()]
    assert found == [whole[index] for index in mine]

    class Unpicklable(Exception):
        """Another rank cannot import it."""

    def local() -> None:
        if ranks.rank() == 1:
            raise Unpicklable("its text")

    with pytest.raises(RuntimeError, match="Unpicklable: its text"):
        together(local)

    def unreadable_between_passes() -> None:
        with torch.no_grad(), in_step(model, torch.device("cpu")) as forward:
            for step in range(4):
                if ranks.rank() == 1 and step == 2:
                    raise ValueError("deliberate")
                forward(input_ids=torch.ones(1, 2, dtype=torch.long))

    expected = ValueError if ranks.rank() == 1 else OtherRankFailed
    with pytest.raises(expected):
        unreadable_between_passes()
    with pytest.raises(ValueError, match="deliberate"):
        together(unreadable_between_passes)

    # Memory that runs out on all: all go on with less.
    size, tried = BatchSize(2), []

    def no_room_for_two(_module: Any, _args: Any, options: dict[str, torch.Tensor]) -> None:
        tried.append(len(options["input_ids"]))
        if tried[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model.register_forward_pre_hook(no_room_for_two, with_kwargs=True)
    fitting = generate_tokens(model, [[5, 6, 7], [5, 6]], end_ids=frozenset(), max_new_tokens=2, batch_size=size)
    handle.remove()
    assert (len(fitting), size.value) == (2, 1)

    # Memory that runs out on one of them, whatever it would go on with: the other waits in its pass.
    def no_room(*_given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def answered() -> int:
        return len(generate_tokens(model, [[5, 6], [7]], end_ids=frozenset(), max_new_tokens=2, batch_size=2))

    if ranks.rank() == 1:
        grace, lockstep._GRACE = lockstep._GRACE, timedelta(seconds=1)
        handle = model.register_forward_pre_hook(no_room)
        begin = time.monotonic()
        with pytest.raises(FailedAlone, match=r"rank 1 failed .* \(OutOfMemoryError: CUDA out of memory\)"):
            together(answered)
        assert time.monotonic() - begin < 30
        handle.remove()
        lockstep._GRACE = grace
        with torch.no_grad():
            for _ in range(2):  # the pass that the other waits in, and the one that it believes both begin
                model(input_ids=torch.ones(1, 1, dtype=torch.long), use_cache=False)
        lockstep._agreed(lockstep._FAILED, "")
        with pytest.raises(OtherRankFailed):
            together(lambda: 1)
    else:
        with pytest.raises(OtherRankFailed):
            together(answered)
    return "failed alike"


def test_an_error_on_one_rank_is_one_on_all():
    assert on_ranks(2, _fails_on_the_second, "") == ["failed alike"] * 2
