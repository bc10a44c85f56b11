"""What must hold on every architecture, or be refused in a sentence; the tests and docs/models.md run the same checks.

A check returns ``yes``, with what is left out where something is, or why this program refuses. What is silently wrong
is an AssertionError.
"""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import Architecture
from tiny import random_samples
from transformers import AutoModelForCausalLM

from training.config import ProConConstraint, TrialConfig
from training.constraints import build_constraint
from training.constraints.references import projections
from training.constraints.references.projections import References
from training.direction.vectors import Direction, difference_of_means, last_token_states
from training.errors import ModelError
from training.loop.export import export, form_of
from training.loop.loss import ConstrainedLoss
from training.loop.train import TrainingSet, plan_of
from training.loop.tuning import tuned
from training.models import decoding
from training.models.adapters import left_out
from training.models.checks import check_model
from training.models.generation import generate_tokens
from training.models.interventions import ablated_direction
from training.models.loading import decoder, decoder_layers
from training.models.logits import response_logits
from training.models.packing_probe import packing_fault
from training.models.residual import capture

SAMPLES = random_samples(8)
EVERY = np.arange(len(SAMPLES))
PROMPTS = [sample.tolist() for sample in np.split(SAMPLES.tokens, SAMPLES.offsets[1:-1])]
CPU = torch.device("cpu")


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest distance between rows, in parts of their length."""
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


def fits(architecture: Architecture) -> str:
    """The model is what hooks, references and generation rely on, in either precision."""
    for dtype in (torch.float32, torch.bfloat16):
        try:
            check_model(architecture.model().to(dtype))
        except ModelError as error:
            return f"refused: {error}"
    return "yes"


def generates(architecture: Architecture) -> str:
    """Batched answers are those of ``generate``, token for token, though rows end and join at different times."""
    model, prompts = architecture.model(), [prompt[: 4 + 2 * index] for index, prompt in enumerate(PROMPTS[:6])]

    def alone(prompt: list[int], ends: list[int]) -> list[int]:
        ids = torch.tensor([prompt])
        found = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=0,
        )
        return list(found[0, len(prompt) :].tolist())

    free = [alone(prompt, [10**6]) for prompt in prompts]
    # Every other row gets an end token of its own, at a step of its own.
    ends = sorted({free[row][1 + row] for row in (0, 2, 4)})
    expected = [answer[: min([answer.index(e) + 1 for e in ends if e in answer], default=8)] for answer in free]
    assert alone(prompts[0], ends) == expected[0]
    assert len({len(answer) for answer in expected}) > 1, "rows must end at different steps for this to mean anything"
    share, decoding._FINISHED_SHARE = decoding._FINISHED_SHARE, 0.001
    try:
        found = generate_tokens(model, prompts, end_ids=frozenset(ends), max_new_tokens=8, batch_size=3)
    finally:
        decoding._FINISHED_SHARE = share
    assert found == expected, (found, expected)
    return "yes"


def packs(architecture: Architecture) -> str:
    """Packed samples compute what they do alone, gradients included; or packing is refused."""
    model = architecture.model()
    fault = packing_fault(model, SAMPLES)
    if fault is not None:
        return f"refused: {fault}"
    gradients, logits = [], []
    for row_length in (None, 40):
        found = response_logits(model, SAMPLES.collate(EVERY, row_length))
        logits.append(found.detach())
        model.zero_grad()
        found.square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert relative(logits[1], logits[0]) < 1e-4
    assert relative(gradients[1], gradients[0]) < 1e-4
    return "yes"


def hooks_see_the_stream(architecture: Architecture) -> str:
    """What hooks capture is what transformers gives as ``hidden_states``, before and after every layer."""
    model = architecture.model()
    ids, layers = torch.tensor([PROMPTS[0], PROMPTS[0][::-1]]), range(len(decoder_layers(model)))
    with torch.no_grad(), capture(model, layers, "block_input") as before, capture(model, layers) as after:
        hidden = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        assert len(hidden) == len(layers) + 1
        for layer in layers:
            assert torch.equal(before[layer], hidden[layer])
            if layer + 1 < len(layers):  # the last of hidden_states comes after the final norm
                assert torch.equal(after[layer], hidden[layer + 1])
    return "yes"


def _direction(model: Any) -> Direction:
    states = last_token_states(model, PROMPTS)
    unit, separation = difference_of_means(states[:4], states[4:])
    return Direction(unit, separation, "block_output", "tiny", 4, 4)


def _references(model: Any, direction: Direction) -> References:
    starts = np.concatenate([[0], np.cumsum(SAMPLES.response_lengths)])
    return References(projections.compute(model, SAMPLES, direction.unit, direction.site), starts)


def references_are_the_initial_model(architecture: Architecture) -> str:
    """z_0 is the initial model's projection of each sample alone, and the penalty begins at 0."""
    model = architecture.model()
    direction = _direction(model)
    references = _references(model, direction)
    layers = list(range(direction.layers))
    for index, tokens in enumerate(PROMPTS):
        with torch.no_grad(), capture(model, layers) as states:
            decoder(model)(input_ids=torch.tensor([tokens]), use_cache=False)
            alone = torch.stack([states[layer][0] @ direction.unit[layer] for layer in layers], dim=1)
        kept = references.of(np.array([index]), layers)
        torch.testing.assert_close(kept, alone[SAMPLES.response_starts[index] :], rtol=1e-4, atol=1e-4)
    constraint = build_constraint(ProConConstraint(alpha=1.0), direction, CPU)
    _, penalty = ConstrainedLoss(model, constraint)(SAMPLES.collate(EVERY), references.of(EVERY, layers), True)
    assert float(penalty.detach()) < 1e-3 * len(references.projections)
    return "yes"


@dataclass
class _Trained:
    losses: list[float]
    logits: torch.Tensor
    gain: float
    """How much lower the loss over all samples is afterwards."""
    note: str | None


def _trial(changes: dict[str, Any]) -> TrialConfig:
    settings = {
        "steps": 4,
        "batch_size": len(SAMPLES),
        "learning_rate": 3e-3,
        "lr_schedule": "constant",
        "lr_warmup_steps": 0,
        "log_every": 1,
        "deepspeed": {"zero_stage": 0},
        "constraint": {"alpha": 0.1},
        **changes,
    }
    return TrialConfig.model_validate(settings)


def _loss(model: Any, indices: Any) -> torch.Tensor:
    """Mean cross-entropy over the response tokens of the samples ``indices``, one sample at a time."""
    total, count = torch.zeros(()), 0
    for index in indices:
        tokens, start = PROMPTS[index], int(SAMPLES.response_starts[index])
        logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, start - 1 : -1].float()
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[start:]), reduction="sum")
        count += len(logits)
    return total / count


def _train(model: Any, changes: dict[str, Any], directory: Path | None = None) -> _Trained:
    """A few steps through DeepSpeed; the trained model is saved where asked for."""
    trial = _trial(changes)
    direction = _direction(model)
    constraint = build_constraint(trial.constraint, direction, CPU)
    data = TrainingSet(SAMPLES, len(SAMPLES), _references(model, direction))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    reports: list[Any] = []
    with torch.no_grad():
        begin = float(_loss(model, EVERY))
    with tuned(model, trial, data, constraint, lambda report: bool(reports.append(report))) as (trained, _):
        with torch.no_grad():
            logits = trained(input_ids=torch.tensor([PROMPTS[0]]), use_cache=False).logits
            gain = begin - float(_loss(trained, EVERY))
        note = left_out(trained) if form_of(trained) == "adapter" else None
        if directory is not None:
            for form in ("adapter", "model") if form_of(trained) == "adapter" else ("model",):
                export(trained, _NoTokenizer(), directory / form, form=form)  # type: ignore[arg-type]
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters()), "the base model moved"
    losses = [report.scores.metrics["train/loss"] for report in reports]
    assert np.isfinite(losses).all()
    return _Trained(losses, logits, gain, note)


class _NoTokenizer:
    """An architecture has none of its own."""

    def save_pretrained(self, _directory: Path) -> None:
        """Nothing to write."""


def trains_adapters(architecture: Architecture) -> str:
    """LoRA lowers the loss under the constraint, and leaves the base model alone."""
    try:
        found = _train(architecture.model(), {"tuning": {"type": "lora", "rank": 4}, "learning_rate": 1e-2})
    except ModelError as error:
        return f"refused: {error}"
    assert found.gain > 0.01
    return "yes" if found.note is None else f"yes, but {found.note.rpartition(' (')[0]}"


def trains_everything(architecture: Architecture) -> str:
    """Full tuning follows a plain torch loop over the samples one by one, gradient checkpointing or not."""
    model = architecture.model()
    checkpointing = bool(model.supports_gradient_checkpointing)
    free = {
        "tuning": {"type": "full"},
        "constraint": {"alpha": 0.0},
        "gradient_checkpointing": checkpointing,
        "learning_rate": 1e-3,
    }
    found = _train(model, free)
    plain = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0)
    expected = []
    for chosen in plan_of(_trial(free), TrainingSet(SAMPLES, len(SAMPLES), None)).steps:
        loss = _loss(plain, chosen)
        expected.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    np.testing.assert_allclose(found.losses, expected, rtol=1e-3)
    assert found.gain > 0.01
    return "yes" if checkpointing else "yes, but gradient checkpointing is refused"


def ablates(architecture: Architecture) -> str:
    """Under ablation nothing in any layer reads the direction: before it, within it, after it."""
    model = architecture.model()
    layers = decoder_layers(model)
    ids = torch.tensor([PROMPTS[0], PROMPTS[0][::-1]])
    unit = _direction(model).unit[-1]
    seen: dict[str, float] = {}

    def read(place: str, states: torch.Tensor) -> None:
        states = states.detach().reshape(-1, states.shape[-1])
        seen[place] = float(((states @ unit).abs() / states.norm(dim=-1)).max())

    def entering(place: str) -> Callable[..., None]:
        return lambda _module, args, kwargs: read(place, args[0] if args else kwargs["hidden_states"])

    # These come before the hooks of the ablation: they see what a layer puts out without being projected afterwards.
    handles = [
        layer.register_forward_hook(
            lambda _module, _args, out, place=f"{index} output": read(place, out[0] if isinstance(out, tuple) else out)
        )
        for index, layer in enumerate(layers)
    ]
    for index, layer in enumerate(layers):
        inside = [name for name, _ in layer.named_children() if name in architecture.reads]
        assert inside, "no part of this layer is known to read the residual stream"
        handles += [
            layer.get_submodule(name).register_forward_pre_hook(entering(f"{index} {name}"), with_kwargs=True)
            for name in inside
        ]
    try:
        with torch.no_grad():
            untouched = model(input_ids=ids, use_cache=False).logits
            assert max(seen.values()) > 1e-2, "the direction must be there before it is removed"
            seen.clear()
            try:
                with ablated_direction(model, unit):
                    ablated = model(input_ids=ids, use_cache=False).logits
            except ModelError as error:
                return f"refused: {error}"
    finally:
        for handle in handles:
            handle.remove()
    assert max(seen.values()) < 1e-5, seen
    assert relative(ablated, untouched) > 1e-3
    return "yes"


def exports(architecture: Architecture) -> str:
    """Adapters, merged and fully tuned models say the same when plain transformers and PEFT load them again."""
    from peft import PeftModel

    model, ids = architecture.model(), torch.tensor([PROMPTS[0]])
    refused = None
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model.save_pretrained(home / "base")
        for kind in ("lora", "full"):
            try:
                trained = _train(model, {"tuning": {"type": kind}, "steps": 1, "learning_rate": 1e-2}, home / kind)
            except ModelError as error:
                refused = f"{kind} refused: {error}"
                continue
            loaded = {"model": AutoModelForCausalLM.from_pretrained(home / kind / "model")}
            if kind == "lora":
                base = AutoModelForCausalLM.from_pretrained(home / "base")
                loaded["adapter"] = PeftModel.from_pretrained(base, home / kind / "adapter")
            for form, again in loaded.items():
                with torch.no_grad():
                    found = again.eval()(input_ids=ids, use_cache=False).logits
                assert relative(found[0], trained.logits[0]) < 1e-4, (kind, form)
    return refused or "yes"


CHECKS: dict[str, Callable[[Architecture], str]] = {
    "fits": fits,
    "generation": generates,
    "packing": packs,
    "hooks": hooks_see_the_stream,
    "references": references_are_the_initial_model,
    "LoRA": trains_adapters,
    "full tuning": trains_everything,
    "ablation": ablates,
    "export": exports,
}
"""By the name of their column."""
