import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.preflight import check_measured, check_specification
from orchestrator.record.manifest import manifest
from sweeps.errors import ObjectiveError, SpecError
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec
from training.errors import DataError, GeneratorError, JudgeError


@pytest.fixture
def advbench(tmp_path: Path) -> Path:
    file = tmp_path / "advbench.jsonl"
    file.write_text("".join(json.dumps({"goal": f"Steal {n} cars"}) + "\n" for n in range(12)))
    return file


def demo(**changes: Any) -> SweepSpec:
    return load_spec("demo", [f"{field}={json.dumps(value)}" for field, value in changes.items()])


def with_set(file: Path, **more: Any) -> SweepSpec:
    tree = demo().model_dump(mode="json")
    tree["data"]["harmful_sets"] = {"advbench": {"path": str(file)} | more}
    return SweepSpec.model_validate(tree)


def test_a_named_set_is_checked_like_any_source(advbench: Path) -> None:
    with pytest.raises(DataError, match=r"data\.harmful_sets\.advbench: .* has no column prompt"):
        check_specification(with_set(advbench))
    with pytest.raises(DataError, match=r"data\.harmful_sets\.advbench: .*gone\.jsonl does not exist"):
        check_specification(with_set(advbench.parent / "gone.jsonl"))
    check_specification(with_set(advbench, columns={"prompt": "goal"}))


def test_a_metric_of_a_set_that_is_not_there_is_refused(advbench: Path) -> None:
    spec = with_set(advbench, columns={"prompt": "goal"})
    objective = spec.objectives[0].model_copy(update={"metric": "safety/attack_success_rate/jailbreakbench"})
    with pytest.raises(ObjectiveError, match="it is measured for harmful, advbench"):
        check_specification(spec.model_copy(update={"objectives": [objective, *spec.objectives[1:]]}))


def test_the_manifest_hashes_named_sets(advbench: Path) -> None:
    assert list(manifest(with_set(advbench))["data"]) == [str(advbench)]


def test_over_refusal_needs_a_judge_of_refusals() -> None:
    tree = demo().model_dump(mode="json")
    tree["evaluation"]["judges"] = [{"type": "echo"}]
    tree["feasible"] = ["safety/over_refusal <= 0.1"]
    with pytest.raises(SpecError, match=r"feasible\.0 \(safety/over_refusal\) needs a judge that asks what refused"):
        check_specification(SweepSpec.model_validate(tree))
    tree["feasible"] = []
    check_specification(SweepSpec.model_validate(tree))


def test_a_judge_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    tree = demo().model_dump(mode="json")
    missing = {"type": "generative", "model": str(tmp_path / "gone"), "format": "harmbench"}
    tree["evaluation"]["judges"].append(missing)
    with pytest.raises(JudgeError, match=r"judge generative: model \(.*gone\) has no config\.json: name"):
        check_measured(SweepSpec.model_validate(tree))
    check_specification(SweepSpec.model_validate(tree))  # what looks at data or the direction asks no judge


def test_a_generator_that_cannot_answer_is_refused_before_anything_is_made() -> None:
    tree = demo().model_dump(mode="json")
    tree["evaluation"]["generator"] = {"type": "vllm", "endpoint": "http://127.0.0.1:9/v1"}
    with pytest.raises(GeneratorError, match=r"evaluation\.generator\.type \(vllm\) cannot serve the embedded model"):
        check_measured(SweepSpec.model_validate(tree))
    tree["search"] |= {"tuning": {"type": "choice", "values": [{"type": "lora"}, {"type": "full"}]}}
    with pytest.raises(GeneratorError, match=r"trial\.tuning\.type \(full\) trains none"):
        check_measured(SweepSpec.model_validate(tree))
