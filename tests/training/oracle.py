"""Penalties the slow way: both models run one sample at a time, states read from ``hidden_states``."""

from typing import Any

import numpy as np
import torch

from training.constraints.base import ProjectionRequest
from training.constraints.positions import positions_of, tokens_of
from training.constraints.projection import project
from training.constraints.references.files import starts_of
from training.constraints.references.projections import References
from training.loop.loss import ConstrainedLoss
from training.models.residual import capture


def moved(model: Any, amount: float = 0.05) -> Any:
    """The model after a training that shook every weight that is trained."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += amount * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def sample_ids(samples: Any, index: int) -> torch.Tensor:
    """``[1, seq]`` tokens of one sample."""
    return torch.tensor(samples.tokens[samples.offsets[index] : samples.offsets[index + 1]])[None]


def chosen_tokens(samples: Any, index: int, tokens: str) -> slice:
    """The constrained tokens of one sample."""
    start = int(samples.response_starts[index])
    return {"response": slice(start, None), "last_prompt": slice(start - 1, start), "all": slice(None)}[tokens]


def state_changes(initial: Any, current: Any, samples: Any, index: int, config: Any, entry: int) -> torch.Tensor:
    """``[tokens, d_model]`` how far the hidden states of one sample moved."""
    ids = sample_ids(samples, index)
    after, before = (
        model(input_ids=ids, output_hidden_states=True).hidden_states[entry][0] for model in (current, initial)
    )
    return (after - before)[chosen_tokens(samples, index, config.tokens)]


def entry_of(config: Any, layer: int) -> int:
    """``hidden_states[i]`` is the input of block i, and the output of the block before it."""
    return layer if config.site == "block_input" else layer + 1


def oracle_penalty(initial: Any, current: Any, samples: Any, indices: Any, direction: Any, config: Any) -> float:
    """ProCon's penalty of a batch."""
    total = 0.0
    for layer in config.layers:
        entry = entry_of(config, layer)
        unit = direction.unit[entry - 1]
        scale = direction.separation[entry - 1].item() if config.alpha_scale == "separation" else 1.0
        changes = [state_changes(initial, current, samples, index, config, entry) @ unit / scale for index in indices]
        together = torch.mean if config.token_reduction == "mean" else torch.sum
        if config.norm == "token_l2":
            total += torch.stack([together(change.square()).sqrt() for change in changes]).mean().item()
            continue
        sizes = [change.abs() if config.norm == "abs" else change.square() for change in changes]
        if config.token_reduction == "mean":
            total += torch.cat(sizes).mean().item()
        else:
            total += torch.stack([size.sum() for size in sizes]).mean().item()
    return total / len(config.layers) if config.layer_reduction == "mean" else total


@torch.no_grad()
def references_for(constraint: Any, initial: Any, samples: Any, precision: torch.dtype | None = None) -> References:
    """What the constraint wants, sample by sample, in the precision of its directions."""
    wants = constraint.wants
    assert isinstance(wants, ProjectionRequest)
    rows = []
    with capture(initial, range(len(wants.unit))) as states:
        for index in range(len(samples)):
            batch = samples.collate([index])
            initial(input_ids=batch.input_ids)
            where = positions_of(batch, wants.tokens).index
            found = [project(states[layer], where, unit) for layer, unit in enumerate(wants.unit)]
            rows.append(torch.stack(found, dim=1).flatten(1).to(precision))
    directions = wants.unit.shape[1] if wants.unit.ndim == 3 else 1
    starts = starts_of(tokens_of(samples, wants.tokens))
    return _Exact(torch.cat(rows).numpy(), starts, directions)


class _Exact(References):
    """References that keep float64."""

    def of(self, samples: Any, layers: list[int]) -> torch.Tensor:
        """In the precision they are held in."""
        if self.projections.dtype != np.float64:
            return super().of(samples, layers)
        rows = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in samples])
        by_layer = self.projections[rows].reshape(len(rows), -1, self.directions)[:, layers]
        return torch.from_numpy(np.ascontiguousarray(by_layer).reshape(len(rows), -1))


def penalty_by_hooks(
    constraint: Any, initial: Any, current: Any, samples: Any, indices: Any, row_length: int | None = None
) -> float:
    """The penalty of a batch as training computes it."""
    kept = None
    if constraint.wants is not None:
        kept = references_for(constraint, initial, samples).of(indices, list(constraint.layers))
    batch = samples.collate(indices, row_length)
    _, total = ConstrainedLoss(current, constraint)(batch, kept, True)
    return float(total.item() / constraint.counted(samples)[indices].sum())
