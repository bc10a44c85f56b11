"""Sweeps under ZeRO 3 on two ranks, the model in shards from loading to the last measurement."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import Cluster, Run, small_sweep

from orchestrator.record.journal import read_journal, records
from orchestrator.record.trials import Status
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig
from training.workbench import Workbench

pytestmark = [pytest.mark.xdist_group("sweeps"), pytest.mark.slow]

TUNINGS: dict[str, dict[str, Any]] = {
    "lora": {"tuning": {"type": "lora", "rank": 4}},
    "full": {"tuning": {"type": "full"}, "learning_rate": 1e-4},
}


@pytest.mark.parametrize("kind", TUNINGS)
def test_a_sweep_in_shards_finds_what_one_rank_with_the_whole_model_does(
    kind: str, start_sweep: Callable[..., Run], cluster: Cluster, tmp_path: Path
) -> None:
    few = {"harmful": 12, "harmless": 6, "borderline": 6, "task": 12, "max_new_tokens": 6}
    trial = {**small_sweep()["trial"], **TUNINGS[kind], "steps": 6, "log_every": 2, "deepspeed": {"zero_stage": 3}}
    search = {"constraint": {"alpha": {"type": "loguniform", "low": 0.01, "high": 1.0}}}
    changes = {"evaluation": few, "trial": trial, "search": search, "trials": 2, "resources": {"workers": 2}}
    run = start_sweep(tmp_path, small_sweep(**changes), *cluster.join, new_store=True)
    code, output = run.finish()
    assert code == 0, output
    found = records(read_journal(run.directory / "journal.jsonl"))
    assert {record.status for record in found} == {Status.FINISHED}, output
    assert len(found) == 5
    spec = SweepSpec.model_validate(small_sweep(**changes))
    alone = Workbench.of(
        spec.models[0], spec.data, spec.direction, spec.evaluation, tmp_path / "alone", day=date(2024, 2, 9)
    )
    for record in (next(one for one in found if one.label == "base"), next(o for o in found if o.kind == "trial")):
        whole = None
        if record.trial is not None:
            whole = TrialConfig.model_validate({**record.trial, "deepspeed": {"zero_stage": 0}})
        expected = alone.run(whole, lambda _report: False).report
        # The order of float32 sums moves a token here and there, and with it a rate by a prompt.
        for name in ("utility/loss", "safety/refusal_log_odds"):
            assert record.report.metrics[name] == pytest.approx(expected.metrics[name], rel=2e-3), (record.id, name)
        for name, (successes, total) in expected.counts.items():
            assert record.report.counts[name][1] == total
            assert abs(record.report.counts[name][0] - successes) <= 1, (record.id, name)
