"""Under ZeRO 3 no rank ever holds the whole model, by the memory of the ranks."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import memory  # noqa: E402

from training.distributed.deepspeed_config import WHOLE_SHARE  # noqa: E402


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("ranks", [2, 4])
def test_each_rank_holds_its_share_of_what_there_must_be(tmp_path: Path, ranks: int) -> None:
    """RssAnon over that of a rank that has loaded nothing, less 67 MB: pages of files do not count.

    While it trains, a rank may also hold two shares of a twentieth: weights that are whole, and weights fetched ahead.
    """
    weights = memory.write_model(tmp_path / "model")
    found = memory.measure(ranks, tmp_path / "model", weights, tmp_path / "work")
    assert list(found.peaks) == list(memory.IDEAL)
    for phase, peak in found.peaks.items():
        allowed = memory.IDEAL[phase] * weights * (1 / ranks + 0.15) + memory.CONSTANT
        if phase in ("lora", "full"):
            allowed += 2 * weights / WHOLE_SHARE
        assert peak <= allowed, f"{phase}: {peak / 1e6:.0f} MB of {allowed / 1e6:.0f} MB"
