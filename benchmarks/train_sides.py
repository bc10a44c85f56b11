"""One repetition of training on either side: ours, and TRL's ``SFTTrainer`` on the same samples."""

import copy
import tempfile
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from train_cases import Case, direction_of, load, trial_of

from training.constraints.references.projections import References
from training.distributed.process import device_of_process


@dataclass(frozen=True)
class Timing:
    """The steps of one repetition, without its first."""

    tokens: list[int]
    """Real tokens of each step, padding not counted."""
    seconds: list[float]
    """Of each step."""

    @property
    def tokens_per_second(self) -> list[float]:
        """Of each step."""
        return [tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]


def clock() -> float:
    """Seconds: the wall's once the accelerator is done, or this process's CPU time where there is none."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def utilisation(case: Case, tokens_per_second: float) -> float | None:
    """Share of the device's peak that is used; none where the peak is not known."""
    from training.models.throughput import flops_per_token, peak_flops

    peak = peak_flops(device_of_process(), case.size.precision)
    if peak is None:
        return None
    model, samples = load(case.model)
    per_token = flops_per_token(model, float(samples.lengths.mean()) / 2, full=case.tuning == "full")
    return tokens_per_second * per_token / peak


def ours(case: Case, alpha: float, references: References | None) -> Timing:
    """Train a fresh copy or adapter for the case's steps with our loop."""
    from training.constraints import build_constraint
    from training.loop.train import TrainingSet, plan_of
    from training.loop.tuning import tuned

    model, samples = load(case.model)
    trial = trial_of(case, alpha, case.size.steps + 1)
    constraint = build_constraint(trial.constraint, direction_of(model), device_of_process())
    ends: list[float] = []

    def stamp(_report: Any) -> bool:
        ends.append(clock())
        return False

    data = TrainingSet(samples, len(samples), references)
    with tuned(model, trial, data, constraint, stamp):
        pass
    plan = plan_of(trial, data)
    return Timing(samples.lengths[plan.steps[1:]].sum(axis=1).tolist(), np.diff(ends).tolist())


def trl(case: Case) -> Timing:
    """Train a fresh copy or adapter for the case's steps with TRL."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    model, samples = load(case.model)
    size = case.size
    ends: list[float] = []
    tokens: list[int] = []

    class Stamped(SFTTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
            mask = inputs.get("attention_mask")
            tokens.append(int(inputs["input_ids"].numel() if mask is None else mask.sum()))
            return super().training_step(model, inputs, *rest)  # type: ignore[no-any-return]

    from transformers import PrinterCallback, TrainerCallback

    class Stamp(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(clock())

    columns = {"input_ids": [], "completion_mask": []}
    for index in range(len(samples)):
        ids = samples.tokens[samples.offsets[index] : samples.offsets[index + 1]].tolist()
        start = int(samples.response_starts[index])
        columns["input_ids"].append(ids)
        columns["completion_mask"].append([0] * start + [1] * (len(ids) - start))
    rows_per_step = size.batch_size
    if case.packed:  # as many full rows as hold what our batch holds
        rows_per_step = max(1, round(size.batch_size * float(samples.lengths.mean()) / size.max_length))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = SFTConfig(
            output_dir=folder,
            max_steps=size.steps + 1,
            per_device_train_batch_size=rows_per_step,
            max_length=size.max_length,
            packing=case.packed,
            completion_only_loss=True,
            learning_rate=1e-4,
            bf16=size.precision == "bf16",
            gradient_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        adapters = LoraConfig(r=size.rank, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = Stamped(
            model=copy.deepcopy(model),
            args=config,
            train_dataset=Dataset.from_dict(columns),
            processing_class=_tokenizer(),
            peft_config=adapters if case.tuning == "lora" else None,
            callbacks=[Stamp()],
        )
        trainer.remove_callback(PrinterCallback)  # prints a line of its own at the end
        trainer.train()
    return Timing(tokens[1 : size.steps + 1], np.diff(ends).tolist())


def projections_of(case: Case) -> References:
    """Reference projections of the case's samples; all zeros cost the training what any others do."""
    model, samples = load(case.model)
    starts = np.concatenate([[0], np.cumsum(samples.response_lengths)])
    return References(np.zeros((int(starts[-1]), model.config.num_hidden_layers), np.float32), starts)


def _tokenizer() -> Any:
    """TRL asks for one even where every sample is tokenised; it only reads the padding token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<eos>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
