"""What a decoder layer adds to the residual stream, found by what it computes and not by what its parts are called.

    output = c_0 input + c_1 out_1 + c_2 out_2 + ...

over the outputs of the layer's direct parts, with scalars c (1, or the multipliers of Granite and Falcon-H1). Attention
and MLP write in most architectures; where a norm follows them (Gemma 2 and 3, OLMo 2), the norm does, and in hybrids a
convolution or a recurrence.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.errors import ModelError
from training.models.batching import measuring
from training.models.loading import base_model, decoder, decoder_layers
from training.models.residual import hidden_of

_TOKENS = (2, 24)
"""Rows and columns of the random tokens that a model is traced on."""
_EXPLAINED = 8.0
"""Units of rounding that a fit may be off by, root mean square: what two or three additions do."""
_ROUNDING = 1 / 16
"""The least that rounding is taken for, in the same units: a tiny layer may be exact."""
_GROWTH = 4.0
"""A part writes where leaving it out multiplies the squared error of the fit by so much."""


@dataclass
class _Trace:
    """One forward pass through one layer."""

    before: Tensor | None = None
    """``[tokens, d_model]`` what entered it."""
    parts: list[tuple[str, Tensor]] = field(default_factory=list)
    """``[tokens, d_model]`` of every call of a direct part."""
    found: list[str] | None = None
    """The parts that write, once it has ended; None where they do not explain its output."""


_FOUND: WeakKeyDictionary[nn.Module, list[list[str]]] = WeakKeyDictionary()
"""By model: a causal check asks once per layer and condition, and an architecture does not change."""


def residual_writers(model: nn.Module) -> list[list[nn.Module]]:
    """The parts of every decoder layer whose outputs are added to the residual stream, by one forward pass.

    Args:
        model: a causal language model, with or without adapters; left as it was.

    Raises:
        ModelError: the output of a layer is not the sum of its input and of what its parts put out.
    """
    base = base_model(model)
    layers = list(decoder_layers(base))
    if base not in _FOUND:
        _FOUND[base] = _by_kind(layers, _traced(base, layers))
    return [[layer.get_submodule(name) for name in names] for layer, names in zip(layers, _FOUND[base], strict=True)]


def _traced(base: PreTrainedModel, layers: list[nn.Module]) -> list[_Trace]:
    """One forward pass over random tokens."""
    traces = [_Trace() for _ in layers]
    handles = []

    def watch(layer: nn.Module, trace: _Trace) -> None:
        def entering(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            trace.before = _rows(args[0] if args else kwargs["hidden_states"])

        def leaving(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            assert trace.before is not None
            trace.found = _explained(trace.before, trace.parts, _rows(hidden_of(output)), base.dtype)
            trace.before, trace.parts = None, []

        def put_out(name: str) -> None:
            def part(_module: nn.Module, _args: object, output: object) -> None:
                hidden = output[0] if isinstance(output, tuple) else output
                if trace.before is None or not isinstance(hidden, Tensor):
                    return
                if hidden.shape[-1] == trace.before.shape[-1] and hidden.numel() == trace.before.numel():
                    trace.parts.append((name, _rows(hidden)))

            handles.append(layer.get_submodule(name).register_forward_hook(part))

        handles.append(layer.register_forward_pre_hook(entering, with_kwargs=True))
        for name, _child in layer.named_children():
            put_out(name)
        handles.append(layer.register_forward_hook(leaving))

    for layer, trace in zip(layers, traces, strict=True):
        watch(layer, trace)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(base.config.get_text_config().vocab_size), _TOKENS, generator=generator)
    try:
        with measuring(base):
            decoder(base)(input_ids=ids.to(base.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return traces


def _by_kind(layers: list[nn.Module], traces: list[_Trace]) -> list[list[str]]:
    """Writers per layer; layers that are built alike share them, so that one that hardly writes is not taken for mute.

    Raises:
        ModelError: those of a layer were not found.
    """
    kinds = [(type(layer), tuple(name for name, _ in layer.named_children())) for layer in layers]
    names: defaultdict[object, dict[str, None]] = defaultdict(dict)
    for index, (layer, trace, kind) in enumerate(zip(layers, traces, kinds, strict=True)):
        if trace.found is None:
            raise ModelError(
                f"the output of decoder layer {index} ({type(layer).__name__}) is not its input plus what "
                f"{', '.join(kind[1])} put out, so that a direction cannot be ablated in this architecture: "
                "set direction.causal=null to go on without the causal check"
            )
        names[kind].update(dict.fromkeys(trace.found))
    return [list(names[kind]) for kind in kinds]


def _rows(hidden: Tensor) -> Tensor:
    return hidden.detach().reshape(-1, hidden.shape[-1])


def _explained(before: Tensor, parts: list[tuple[str, Tensor]], after: Tensor, dtype: torch.dtype) -> list[str] | None:
    """The fewest parts that, with the input, add up to the output; None where all together do not.

    Every entry counts in units of its own rounding, so that the few huge entries of large models do not drown the rest.
    """
    if before.shape != after.shape:
        return None
    scale = after.double().abs() + before.double().abs()
    weight = 1 / (scale + 1e-2 * scale.square().mean().sqrt())
    names = ["", *[name for name, _ in parts]]
    table = torch.stack(
        [(one.double() * weight).flatten() for one in (before, *[out for _, out in parts], after)], dim=1
    )
    # Of the thousands of rows a triangle is left in which every fit has the same error.
    triangle = torch.linalg.qr(table, mode="r").R.cpu()
    columns, target = triangle[:, :-1], triangle[:, -1]
    columns = columns / columns.norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)

    def error(kept: list[int]) -> float:
        """Squared error of the best fit by ``kept``."""
        chosen = columns[:, kept]
        return float((target - chosen @ (torch.linalg.pinv(chosen, rtol=1e-10) @ target)).square().sum())

    unit = torch.finfo(dtype).eps ** 2 * after.numel()
    kept = list(range(len(names)))
    least = error(kept)
    if least > _EXPLAINED**2 * unit:
        return None
    needed = _GROWTH * max(least, _ROUNDING**2 * unit)
    while True:
        spare = [(error([one for one in kept if one != index]), index) for index in kept[1:]]
        smallest = min((value for value, _ in spare), default=needed + 1)
        if smallest > needed:
            break
        # Of parts that put out the same (attention, and the dropout after it) the earlier one stays.
        kept.remove(max(index for value, index in spare if value <= 1.01 * smallest))
    # Where a part adds the input itself (BLOOM's do), what it adds to it cannot be told apart.
    if len(kept) > 1 and error(kept[1:]) <= needed:
        return None
    return list(dict.fromkeys(names[index] for index in kept[1:]))
