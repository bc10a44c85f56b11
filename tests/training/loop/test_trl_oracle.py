"""The same model, data order and optimizer under TRL's SFTTrainer give the same losses."""

import pytest
import torch
from tiny import random_samples, tiny_llama
from trajectories import trial

from training.config.schedule import learning_rate_at
from training.data.batch_plan import BatchPlan
from training.loop.train import TrainingSet, train
from training.models.adapters import attach

STEPS = 20
COMMON = {
    "steps": STEPS,
    "batch_size": 8,
    "safety_share": 0.0,
    "constraint": {"alpha": 0.0},
    "lr_schedule": "linear",
    "lr_warmup_steps": 4,
    "weight_decay": 0.05,
}


def model_of(config):
    model = tiny_llama()
    return attach(model, config.tuning, config.seed) if config.tuning.type == "lora" else model


def losses_here(config, samples):
    found = []
    train(
        model_of(config),
        config,
        TrainingSet(samples, len(samples), None),
        None,
        lambda report: bool(found.append(report.scores.metrics)),
    )
    return [one["train/loss"] for one in found], [one["train/gradient_norm"] for one in found]


def losses_of_trl(config, samples, tokenizer, directory, accumulation):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    order = BatchPlan.make(
        task=len(samples),
        safety=0,
        share=0.0,
        lengths=samples.lengths,
        steps=STEPS,
        batch_size=config.batch_size,
        seed=config.seed,
    ).steps.flatten()
    rows = []
    for index in order.tolist():
        tokens = samples.tokens[samples.offsets[index] : samples.offsets[index + 1]].tolist()
        start = int(samples.response_starts[index])
        rows.append({"input_ids": tokens, "completion_mask": [0] * start + [1] * (len(tokens) - start)})

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_arguments):
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def create_scheduler(self, num_training_steps, optimizer=None):
            # Only the optimizer's steps are compared here; the schedules have tests of their own.
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: learning_rate_at(step, config) / config.learning_rate
            )
            return self.lr_scheduler

    settings = SFTConfig(
        output_dir=str(directory),
        max_steps=STEPS,
        per_device_train_batch_size=config.batch_size // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.gradient_clipping,
        optim="adamw_torch",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        completion_only_loss=True,
        disable_tqdm=True,
    )
    trainer = InOrder(
        model=model_of(config), args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    # transformers gives norms and biases no weight decay; here every trained weight has the same.
    trainer.get_decay_parameter_names = lambda model: [name for name, _ in model.named_parameters()]
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [entry["loss"] for entry in history], [float(entry["grad_norm"]) for entry in history]


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(
    ("tuning", "rate", "accumulation"),
    [({"type": "lora", "rank": 4}, 1e-2, 2), ({"type": "full"}, 1e-3, 1)],
    ids=["lora", "full"],
)
def test_losses_are_those_of_trl(tmp_path, chat_tokenizer, tuning, rate, accumulation):
    config = trial(
        **COMMON, tuning=tuning, learning_rate=rate, micro_batch_size=8 // accumulation, deepspeed={"zero_stage": 2}
    )
    samples = random_samples(60)
    losses, norms = losses_here(config, samples)
    expected_losses, expected_norms = losses_of_trl(config, samples, chat_tokenizer, tmp_path, accumulation)
    assert len(expected_losses) == STEPS
    # float32 in another order over twenty steps of AdamW.
    assert losses == pytest.approx(expected_losses, rel=1e-4)
    assert norms == pytest.approx(expected_norms, rel=1e-3)
    assert losses[-1] < losses[0]
