import importlib.util
import json
from pathlib import Path

import pytest

from orchestrator.driver.preflight import check_measured, check_specification
from sweeps.errors import ObjectiveError, SpecError
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec
from training.errors import DataError

OBJECTIVE = {"metric": "utility/lm_eval/arc_easy", "goal": "maximize", "worst": 0.2}


def demo(*, lm_eval: object = None, objectives: object = None) -> SweepSpec:
    overrides = [] if lm_eval is None else [f"evaluation.lm_eval={json.dumps(lm_eval)}"]
    return load_spec("demo", overrides if objectives is None else [*overrides, f"objectives={json.dumps(objectives)}"])


def test_a_sweep_starts_only_where_the_tasks_can_be_run() -> None:
    missing = importlib.util.find_spec("lm_eval") is None
    fault = r"pip install 'procon-sweeps\[eval\]'" if missing else "is no task that lm-eval knows"
    with pytest.raises(DataError, match=rf"evaluation\.lm_eval\.tasks \(no-such-task\).*{fault}"):
        check_measured(demo(lm_eval={"tasks": ["no-such-task"]}))


def test_a_score_is_an_objective_where_it_is_measured() -> None:
    two = [{"metric": "safety/attack_success_rate", "goal": "minimize"}, OBJECTIVE]
    check_specification(demo(lm_eval={"tasks": ["arc_easy"]}, objectives=two))
    for lm_eval in (None, {"tasks": ["mmlu"]}):
        with pytest.raises(
            ObjectiveError, match=r"objectives\.1\.metric .*: add arc_easy to evaluation\.lm_eval\.tasks"
        ):
            check_specification(demo(lm_eval=lm_eval, objectives=two))


def test_a_score_has_no_worst_of_its_own() -> None:
    with pytest.raises(SpecError, match="worst is missing for utility/lm_eval/arc_easy"):
        demo(lm_eval={"tasks": ["arc_easy"]}, objectives=[{**OBJECTIVE, "worst": None}])


def test_a_relative_folder_of_tasks_starts_from_the_data(tmp_path: Path) -> None:
    where = ['evaluation.lm_eval={"tasks": ["a"], "include_path": "mine"}', f"data_root={tmp_path}"]
    config = load_spec("demo", where).evaluation.lm_eval
    assert config is not None
    assert config.include_path == str(tmp_path / "mine")
