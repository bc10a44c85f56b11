"""The attention that a model names, from its specification down to the model that is trained and measured."""

from pathlib import Path
from typing import Any

from benches import bench, write_files

from training.config import ModelConfig, TrialConfig
from training.workbench import Workbench


def test_a_model_is_trained_and_measured_with_the_attention_that_it_names(
    process: Any, tmp_path: Path, chat_tokenizer: Any
) -> None:
    write_files(tmp_path, chat_tokenizer)
    usual = bench(tmp_path)
    model = ModelConfig(name="tiny", path=str(tmp_path / "model"), attn_implementation="eager")
    made = Workbench.of(model, usual.data, usual.direction_config, usual.evaluation, tmp_path / "out", day=None)
    made.prepare()
    assert made.model.config._attn_implementation == "eager"
    found = made.run(TrialConfig(steps=1, batch_size=4, max_length=64), lambda _report: False)
    assert "safety/attack_success_rate" in found.report.metrics
