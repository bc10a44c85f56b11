"""A sweep whose objective is a loss, which has no count behind it: its error is known, and it is repeated as asked."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from small_sweeps import Run, small_sweep

OBJECTIVES = [
    {"metric": "safety/attack_success_rate", "goal": "minimize"},
    {"metric": "utility/loss", "goal": "minimize", "worst": 10.0},
]


@pytest.mark.slow
def test_an_objective_that_is_a_mean_is_uncertain_and_repeated(start_sweep: Callable[..., Run], tmp_path: Path) -> None:
    spec = small_sweep(objectives=OBJECTIVES, trials=2, seeds={"replicates_on_front": 2})
    run = start_sweep(tmp_path, spec)
    code, output = run.finish(900)
    assert code == 0, output
    model = json.loads((run.directory / "front.json").read_text())["models"]["small"]
    for one in [*model["trials"], *model["reference"].values()]:
        low, high = one["intervals"]["utility/loss"]
        assert low < one["metrics"]["utility/loss"] < high
        assert 0 < one["errors"]["utility/loss"] < math.inf
    near = [trial for trial in model["trials"] if trial["p_on_front"] > 0.05]
    assert near
    assert all(trial["replicates"] >= 2 or trial["p_on_front"] >= 0.95 for trial in near)
    assert any(trial["replicates"] > 1 for trial in model["trials"]) or all(t["p_on_front"] >= 0.95 for t in near)
    repeated = [one for one in model["reference"].values() if one["replicates"] > 1]
    assert repeated, "references are repeated too"
    assert len({seed["metrics"]["utility/loss"] for seed in repeated[-1]["seeds"]}) > 1, "other seeds, other losses"
