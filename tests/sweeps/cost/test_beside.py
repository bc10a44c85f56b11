"""Memory in evaluation and on hosts, and checkpoints, on the sizes of published models."""

import pytest
from published_shapes import LLAMA_8B
from test_memory import LLAMA, full, trial

from sweeps.cost.answering import answering_memory, answers_at_once, cache_bytes
from sweeps.cost.shape import Shape
from sweeps.cost.storage import KEPT, PROCESS, checkpoints, host_bytes
from training.config import EvaluationConfig

EVALUATION = EvaluationConfig(max_length=2048, max_new_tokens=512, batch_size=64)


class TestAnswers:
    def test_keys_and_values_are_of_the_key_heads_alone(self):
        assert cache_bytes(LLAMA, "bf16", 1) == 2 * 32 * 1024 * 2  # 128 KiB a token, as published

    def test_a_window_bounds_the_cache(self):
        windowed = Shape.of_config({**LLAMA_8B, "model_type": "mistral", "sliding_window": 4096})
        assert cache_bytes(windowed, "bf16", 32768) == cache_bytes(LLAMA, "bf16", 4096)

    def test_what_fits_fills_the_room_and_no_more(self):
        room = 40e9
        most = answers_at_once(LLAMA, trial(), EVALUATION, 1, room)
        assert 1 < most < 64
        for count, fits in ((most, True), (most + 1, False)):
            asked = EVALUATION.model_copy(update={"batch_size": count})
            assert (answering_memory(LLAMA, trial(), asked, 1).total <= room) is fits
        assert answers_at_once(LLAMA, trial(), EVALUATION, 1, 16e9) == 0
        assert answers_at_once(LLAMA, trial(), EVALUATION, 1, 1e12) == 64


def test_workers_of_a_node_read_the_files_once_and_hold_what_is_offloaded_each():
    offload = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}
    plain = host_bytes(LLAMA, full(2), 8, on_node=8, files=16e9)
    assert plain == 16e9 + 8 * PROCESS
    moved = host_bytes(LLAMA, full(2, overrides=offload), 8, on_node=8, files=16e9)
    assert moved - plain == pytest.approx((12 + 4) * LLAMA.parameters)


class TestCheckpoints:
    def test_full_tuning_of_8b_writes_110_gb_each_time(self):
        found = checkpoints(LLAMA, full(3).model_copy(update={"steps": 151, "checkpoint_every": 50}))
        assert found.bytes == 14 * LLAMA.parameters
        assert 110e9 < found.bytes < 115e9
        assert found.written == 4 * found.bytes
        assert found.held == (KEPT + 1) * found.bytes

    def test_adapters_write_their_own_weights_alone(self):
        own = LLAMA.adapter_parameters(trial().tuning)
        assert checkpoints(LLAMA, trial()).bytes == 14 * own
        assert checkpoints(LLAMA, trial(), any_size=True).bytes == 26 * own, "the states twice"

    def test_no_other_interval_costs_less(self):
        found, pace, day = checkpoints(LLAMA, full(3)), 10.0, 24 * 3600.0
        best = found.cheapest(pace)

        def cost(every):
            return found.bytes / 1e9 / (every * pace) + every * pace / 2 / day

        assert best > 50
        assert cost(best) <= min(cost(best // 2), cost(best * 2), cost(50))
        assert found.share(pace) == pytest.approx(112.4 / (112.4 + 500), rel=0.01)
