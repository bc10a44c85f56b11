"""Under ZeRO 3 no rank ever holds the whole model, by the memory of the ranks."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import memory  # noqa: E402


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_each_rank_holds_its_share_of_what_there_must_be(tmp_path: Path) -> None:
    """RssAnon over that of a rank that has loaded nothing, less what one rank alone needs beside weights and states."""
    weights = memory.write_model(tmp_path / "model")
    alone = memory.measure(1, tmp_path / "model", weights, tmp_path / "work-1")
    assert list(alone.peaks) == list(memory.IDEAL)
    for ranks in (2, 4):
        found = memory.measure(ranks, tmp_path / "model", weights, tmp_path / f"work-{ranks}")
        for phase, peak in found.peaks.items():
            allowed = memory.IDEAL[phase] * weights * (1 / ranks + 0.15) + alone.unshared(phase)
            assert peak <= allowed, f"{phase} on {ranks} ranks: {peak / 1e6:.0f} MB of {allowed / 1e6:.0f} MB"
