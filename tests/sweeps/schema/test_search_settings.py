"""Which settings of the search and of the seeds mean something."""

from pathlib import Path

import pytest

from sweeps.schema.search import SearcherConfig
from sweeps.schema.seeds import SeedsConfig


def test_earlier_sweeps_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = SearcherConfig(warm_start=["runs/a", "~/b", "/c"]).warm_start
    assert found == [str(tmp_path / "runs/a"), str(tmp_path / "home/b"), "/c"]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
def test_what_learns_takes_earlier_sweeps(sampler: str) -> None:
    assert SearcherConfig.model_validate({"sampler": sampler, "warm_start": ["runs/a"]}).sampler == sampler


@pytest.mark.parametrize("sampler", ["qmc", "random", "grid"])
def test_what_learns_nothing_takes_none(sampler: str) -> None:
    with pytest.raises(ValueError, match=f"no effect on the sampler {sampler}.*choose one of tpe, nsga2, gp"):
        SearcherConfig.model_validate({"sampler": sampler, "warm_start": ["runs/a"]})


def test_a_generation_has_parents() -> None:
    assert SearcherConfig(sampler="tpe", startup_trials=1).startup_trials == 1
    assert SearcherConfig(sampler="nsga2", startup_trials=2).startup_trials == 2
    with pytest.raises(ValueError, match="too few for a generation"):
        SearcherConfig(sampler="nsga2", startup_trials=1)


@pytest.mark.parametrize(("seeds", "taken"), [(0, True), (1, False), (2, True), (-1, False)])
def test_one_seed_is_the_searched_trial_itself(seeds: int, taken: bool) -> None:
    if taken:
        assert SeedsConfig(replicates_on_front=seeds).replicates_on_front == seeds
    else:
        with pytest.raises(ValueError, match="replicates_on_front"):
            SeedsConfig(replicates_on_front=seeds)
