"""rsLoRA, DoRA and LoRA+: real trainings of a tiny model with each."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tiny import held_as, random_samples, tiny_llama, weights_of

from training.config import LoraTuning, TrialConfig
from training.distributed.parameter_groups import RATIO, parameter_groups, set_rate
from training.loop.train import TrainingSet
from training.loop.tuning import tuned
from training.models.adapters import attach


def trial(stage: int = 0, precision: str = "fp32", **tuning: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "tuning": {"type": "lora", "rank": 4, **tuning},
            "steps": 4,
            "batch_size": 40,
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "lr_schedule": "constant",
            "lr_warmup_steps": 0,
            "log_every": 1,
            "precision": precision,
            "constraint": {"type": "procon", "alpha": 0.0},
            "deepspeed": {"zero_stage": stage},
        }
    )


def trained(config: TrialConfig) -> tuple[list[float], dict[str, float]]:
    """Losses, and how far each kind of adapter weight has moved at most, by the part of its name."""
    model = tiny_llama().to(torch.bfloat16 if config.precision == "bf16" else torch.float32)
    samples, losses = random_samples(), []
    before = {
        name: weight.detach().clone()
        for name, weight in attach(tiny_llama(), config.tuning, config.seed).named_parameters()  # type: ignore[arg-type]
        if weight.requires_grad
    }

    def note(report: Any) -> bool:
        losses.append(report.scores.metrics["train/loss"])
        return False

    moved: dict[str, float] = {}
    with tuned(held_as(config, model), config, TrainingSet(samples, len(samples), None), None, note) as (module, _):
        for name, weight in weights_of(module).items():
            if name in before:
                kind = next(part for part in ("lora_A", "lora_B", "magnitude") if part in name)
                distance = float((weight.float() - before[name].float()).abs().max())
                moved[kind] = max(moved.get(kind, 0.0), distance)
    return losses, moved


def test_rslora_scales_by_the_root_of_the_rank(process: Any) -> None:
    from peft.tuners.lora import LoraLayer

    adapted = attach(tiny_llama(), LoraTuning(rank=4, alpha=16, use_rslora=True), seed=0)
    scalings = {module.scaling["default"] for module in adapted.modules() if isinstance(module, LoraLayer)}
    assert scalings == {16 / 2}
    assert trained(trial(use_rslora=True))[0][-1] != trained(trial())[0][-1]


def test_dora_trains_magnitudes_and_begins_at_the_base_model(process: Any) -> None:
    losses, moved = trained(trial(use_dora=True))
    plain, _ = trained(trial())
    assert losses[0] == pytest.approx(plain[0], rel=1e-5)
    assert losses[-1] != plain[-1]
    assert moved["magnitude"] > 0


@pytest.mark.parametrize(
    ("stage", "precision"),
    [
        pytest.param(0, "fp32", marks=pytest.mark.slow),
        pytest.param(1, "bf16", marks=pytest.mark.slow),
        (2, "fp32"),
        (3, "fp32"),
    ],
)
def test_loraplus_moves_b_at_its_own_rate_at_every_stage(process: Any, stage: int, precision: str) -> None:
    slower, plain = trained(trial(stage, precision))
    losses, faster = trained(trial(stage, precision, loraplus_lr_ratio=16))
    assert losses[0] == slower[0]
    assert losses[1] < slower[1]
    assert faster["lora_B"] > 8 * plain["lora_B"]  # Adam's steps are as long as the rate
    assert faster["lora_A"] < 2 * plain["lora_A"]


def test_the_groups_are_those_of_peft() -> None:
    from peft.optimizers import create_loraplus_optimizer

    config = trial(use_dora=True, loraplus_lr_ratio=8)
    adapted = attach(tiny_llama(), config.tuning, seed=0)  # type: ignore[arg-type]
    optimizer = create_loraplus_optimizer(adapted, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8)
    theirs = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    own = torch.optim.AdamW(parameter_groups(adapted, config))
    set_rate(own, 1e-3)
    assert {id(one): group["lr"] for group in own.param_groups for one in group["params"]} == theirs
    assert [group[RATIO] for group in own.param_groups] == [1.0, 8]


def test_settings_are_written_where_they_are_set() -> None:
    before = {"type": "lora", "rank": 4, "alpha": 16.0, "dropout": 0.0, "targets": "all-linear"}
    assert trial().model_dump(mode="json")["tuning"] == before
    own = trial(use_dora=True, loraplus_lr_ratio=2)
    assert own.model_dump()["tuning"] == {**before, "use_dora": True, "loraplus_lr_ratio": 2.0}
    assert TrialConfig.model_validate(own.model_dump(mode="json")) == own


def test_without_a_ratio_there_is_one_group() -> None:
    assert len(parameter_groups(tiny_llama(), trial())) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuning": {"type": "lora", "use_dora": True}, "deepspeed": {"zero_stage": 3}}, "use_dora .* whole weights"),
        ({"tuning": {"type": "lora", "loraplus_lr_ratio": 0.5}}, "loraplus_lr_ratio"),
        ({"tuning": {"type": "full", "use_rslora": True}}, "use_rslora"),
    ],
)
def test_what_cannot_be_had_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialConfig.model_validate(changes)
