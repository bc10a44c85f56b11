"""How much memory one worker needs, estimated from shapes before anything is loaded (pure).

With P weights of the base model, T trained ones (P under full tuning, else the adapters'), n workers and b bytes per
number in the trial's precision (4 or 2):

* weights: b P of the base model, which stays loaded; under full tuning as much again for the copy that is trained, else
  b T. QLoRA has linear layers at 4.13 bits; experts stay as they are.
  ZeRO 3 keeps a share 1/n, gathers one weight in :data:`LIVE_SHARE` beside the module that is running, with gradient
  checkpointing one in :data:`WHOLE_SHARE`, and has its initial copy for full tuning on the host.
* gradients: 4 T, since they are added up in float32, shared among the n workers from ZeRO 2 on (2 T where
  ``deepspeed.overrides.data_types.grad_accum_dtype`` says bf16). At ZeRO 0 and 1 those of a forward pass are whole
  besides, b T.
* optimizer: AdamW's two moments in float32, 8 T, and a float32 master copy, 4 T, which DeepSpeed keeps except in
  float32 without ZeRO; shared among the workers from ZeRO 1 on; on the host where ``offload_optimizer`` says so.
* activations and logits: see :mod:`sweeps.cost.activations`.
* buffers: what DeepSpeed puts gradients into on their way to the other workers, ``reduce_bucket_size`` numbers of the
  model's precision at ZeRO 2, and fewer at 3, however few are trained, and what its step copies them to; 4 T for
  averaged weights (``ema_decay``), 4 T for the alignment gradient of ``safe_grad``, whose pass over safety samples may
  be the largest one, and the directions of ``null_space``.

What is told is the worse of two moments, the end of a forward pass and the optimizer's step. CUDA's own context (about
0.5 GiB), caches and fragmentation come on top.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeps.cost.activations import BYTES, activation_bytes, logits_bytes
from sweeps.cost.shape import Block, Shape, adapted_layers
from training.config import (
    AdapterTuning,
    FullTuning,
    NullSpaceConstraint,
    QLoraTuning,
    SafeGradConstraint,
    TrialConfig,
)

QLORA_BYTES = 4.127 / 8
"""A 4-bit weight with its share of the doubly quantised constants (arXiv 2305.14314, section 3)."""
BUCKET = 500_000_000
"""Numbers in DeepSpeed's bucket of gradients (``reduce_bucket_size``), by default."""
WHOLE_SHARE = 20
"""Under ZeRO 3 at most one in so many weights stays whole for the backward pass of a layer that was computed again, and
the bucket is no larger either."""
LIVE_SHARE = 50
"""Without such layers, at most one in so many is whole beside the module that is running."""
CONTEXT = 0.5 * 2**30
"""Bytes that CUDA takes for itself on a device."""


@dataclass(frozen=True)
class Memory:
    """Bytes that one worker needs at its worst moment."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    buffers: float = 0.0
    """DeepSpeed's, for the exchange of gradients."""
    cache: float = 0.0
    """Keys and values of the tokens generated; 0 in training."""
    judges: float = 0.0
    """Local judges on the same device."""
    host: float = 0.0
    """On the host where the device is another: offloaded states and weights, and ZeRO 3's initial copy."""
    moment: str = ""
    """When that is."""

    @property
    def parts(self) -> dict[str, float]:
        """What it consists of on the device, without what is 0."""
        return {name: value for name, value in vars(self).items() if name not in ("host", "moment") and value}

    @property
    def total(self) -> float:
        """Bytes on the device that trains."""
        return sum(self.parts.values())

    @property
    def certain(self) -> float:
        """Bytes that no shorter sample saves: all but activations, logits and cache."""
        return self.total - self.activations - self.logits - self.cache


def worker_memory(shape: Shape, trial: TrialConfig, workers: int, *, judges: float = 0.0, gpu: bool = True) -> Memory:
    """The estimate that this module's docstring describes.

    Args:
        shape: of the base model.
        trial: how it is tuned.
        workers: ranks of the trial.
        judges: bytes of local judges on the same device.
        gpu: whether workers have devices of their own; on the CPU what is on the host is part of the same memory, and
            buffers take what is written to them.
    """
    held = _held(shape, trial, workers, gpu=gpu)
    tokens = max(trial.micro_batch_size or max(1, trial.batch_size // workers), _aligned(trial)) * trial.max_length
    forward = replace(
        held,
        activations=activation_bytes(shape, trial, tokens),
        logits=logits_bytes(shape, trial, tokens),
        gradients=held.gradients + _passing_gradients(shape, trial, accumulating=_accumulates(trial, workers)),
        judges=judges,
        moment="at the end of a forward pass",
    )
    step = replace(
        held,
        gradients=held.gradients + _passing_gradients(shape, trial, accumulating=True),
        buffers=held.buffers + _flattened(shape, trial, workers),
        judges=judges,
        moment="in the optimizer's step",
    )
    worst = max(forward, step, key=lambda memory: memory.total)
    return worst if gpu else replace(worst, weights=worst.weights + worst.host, host=0.0)


def held_weights(shape: Shape, trial: TrialConfig, workers: int) -> float:
    """Bytes of the weights on one worker's device: the base model and what is trained of it."""
    width = BYTES[trial.precision]
    if trial.zero_stage < 3:
        return _base_bytes(shape, trial) + _trained(shape, trial) * width
    adapters = 0 if isinstance(trial.tuning, FullTuning) else _trained(shape, trial)
    whole = (shape.parameters + adapters) * width
    if workers == 1:
        return whole
    running = max(shape.vocabulary * shape.hidden, *(_largest(block, shape.hidden) for block in shape.blocks))
    part = WHOLE_SHARE if trial.gradient_checkpointing else LIVE_SHARE
    live = _zero(trial).get("stage3_max_live_parameters", min(shape.parameters // part, 10**9))
    at_once = min(running + int(live), shape.parameters) * width
    share = 0.0 if _offloads(trial, "offload_param") else whole / workers
    return min(share + at_once, whole)


def _largest(block: Block, hidden: int) -> int:
    """Weights of the largest module of a block; the experts of a block are one."""
    experts = block.experts.parameters(hidden) if block.experts else 0
    return max(experts, *(inputs * outputs for inputs, outputs in block.linear.values()))


def _held(shape: Shape, trial: TrialConfig, workers: int, *, gpu: bool) -> Memory:
    """What is there all through a training."""
    width, stage, trained = BYTES[trial.precision], trial.zero_stage, _trained(shape, trial)
    states = trained * (8 if stage == 0 else 12) / (workers if stage >= 1 else 1)
    offloaded = _offloads(trial, "offload_optimizer")
    gradients = _kept_gradients(trial) * trained / (workers if stage >= 2 or trial.precision == "fp32" else 1)
    host = states + gradients if offloaded else 0.0
    if stage == 3:
        if isinstance(trial.tuning, FullTuning):
            host += shape.parameters * width / workers
        if _offloads(trial, "offload_param"):
            host += shape.parameters * width / workers
    return Memory(
        weights=held_weights(shape, trial, workers),
        gradients=0.0 if offloaded else gradients,
        optimizer=0.0 if offloaded else states,
        buffers=_bucket(shape, trial, trained, gpu=gpu)
        + (0 if trial.ema_decay is None else 4 * trained)
        + (4 * trained if _aligned(trial) else 0)
        + 4 * _unseen(shape, trial),
        host=host,
    )


def _unseen(shape: Shape, trial: TrialConfig) -> int:
    """Numbers of the directions that ``null_space`` takes out of every adapter's input."""
    held, tuning = trial.constraint, trial.tuning
    if not isinstance(held, NullSpaceConstraint) or not isinstance(tuning, AdapterTuning):
        return 0
    inputs = (inputs for block in shape.blocks for inputs, _ in adapted_layers(block, tuning).values())
    return held.directions * sum(inputs)


def _aligned(trial: TrialConfig) -> int:
    """Safety samples of the pass that a constraint on the gradient has of its own; 0 where there is none."""
    held = trial.constraint
    return held.samples if isinstance(held, SafeGradConstraint) and held.active else 0


def _trained(shape: Shape, trial: TrialConfig) -> int:
    tuning = trial.tuning
    return shape.adapter_parameters(tuning) if isinstance(tuning, AdapterTuning) else shape.parameters


def _base_bytes(shape: Shape, trial: TrialConfig) -> float:
    width = BYTES[trial.precision]
    if isinstance(trial.tuning, QLoraTuning):
        return shape.linear_parameters * QLORA_BYTES + (shape.parameters - shape.linear_parameters) * width
    return shape.parameters * width


def _kept_gradients(trial: TrialConfig) -> int:
    """Bytes per trained weight of the gradients that DeepSpeed keeps from step to step."""
    if trial.zero_stage == 0:
        return 0
    chosen = trial.deepspeed.overrides.get("data_types", {}).get("grad_accum_dtype")
    return 2 if trial.precision == "bf16" and chosen in ("bf16", "bfloat16") else 4


def _passing_gradients(shape: Shape, trial: TrialConfig, *, accumulating: bool) -> float:
    """Bytes of the gradients as autograd leaves them: of all weights from pass to pass, else of the largest one."""
    width, trained = BYTES[trial.precision], _trained(shape, trial)
    largest = shape.vocabulary * shape.hidden * width if isinstance(trial.tuning, FullTuning) else 0
    if trial.zero_stage >= 2:  # shared out as soon as they are there
        return float(largest)
    return float(trained * width if accumulating else largest)


def _flattened(shape: Shape, trial: TrialConfig, workers: int) -> float:
    """Bytes of the copy that the step makes of the gradients it works on."""
    if trial.precision == "bf16":
        return 0.0
    trained = _trained(shape, trial)
    return 4.0 * (min(trained, BUCKET) if trial.zero_stage == 0 else trained / workers)


def _bucket(shape: Shape, trial: TrialConfig, trained: int, *, gpu: bool) -> float:
    """Bytes of DeepSpeed's bucket of gradients, which is no larger than what is trained unless an override says so."""
    if trial.zero_stage == 0 or (trial.zero_stage == 1 and trial.precision == "bf16"):
        return 0.0
    settings = _zero(trial)
    if not settings.get("contiguous_gradients", True):
        return 0.0
    usual = BUCKET if trial.zero_stage < 3 else min(BUCKET, max(1, shape.parameters // WHOLE_SHARE))
    size = int(settings.get("reduce_bucket_size", min(usual, max(1, trained))))
    return float(BYTES[trial.precision] * (size if gpu else min(size, trained)))


def _accumulates(trial: TrialConfig, workers: int) -> bool:
    """Whether a step adds up several backward passes of a worker."""
    shared = (trial.micro_batch_size or trial.batch_size) * workers < trial.batch_size
    return shared or trial.constraint.extra_passes > 0


def _zero(trial: TrialConfig) -> Mapping[str, Any]:
    found = trial.deepspeed.overrides.get("zero_optimization")
    return found if isinstance(found, Mapping) else {}


def _offloads(trial: TrialConfig, what: str) -> bool:
    return (_zero(trial).get(what) or {}).get("device") in ("cpu", "nvme")
