"""Safety bottleneck regularization (arXiv 2605.05995): the final hidden states of harmful prompts stay.

    L = 1/(N d) sum_i || h_t(a_i) - h_0(a_i) ||^2

h is what the output head reads (after the final norm) at the last token of anchor prompt a_i in its chat template. The
head is a bottleneck: whatever the weights below do, what it reads decides the first word of the answer. The anchors are
a small batch of their own, run with every forward pass of the training.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.config import AnchorConstraint
from training.constraints.base import Constraint, ForwardPass
from training.constraints.materials import Materials
from training.data.chat import encode_prompts
from training.errors import ModelError
from training.models.batching import measuring, pad
from training.models.loading import decoder


def final_states(model: nn.Module, ids: Tensor, last: Tensor) -> Tensor:
    """What the output head reads at one token of each row.

    Args:
        model: with or without adapters.
        ids: ``[prompts, seq]`` token ids, padded on the right.
        last: ``[prompts]`` the token of each.

    Returns:
        ``[prompts, d_model]``, float32 or wider.
    """
    hidden: Tensor = decoder(model)(input_ids=ids, use_cache=False)[0]
    chosen = hidden[torch.arange(len(ids), device=ids.device), last]
    return chosen.to(torch.promote_types(chosen.dtype, torch.float32))


class Anchor(Constraint):
    """Mean squared error of the final hidden states of a few prompts."""

    reads_logits = False
    averages_over = "samples"

    def __init__(self, ids: Tensor, last: Tensor, references: Tensor) -> None:
        """Hold final hidden states in place.

        Args:
            ids: ``[prompts, seq]`` token ids, padded on the right.
            last: ``[prompts]`` last token of each.
            references: ``[prompts, d_model]`` :func:`final_states` of the initial model.
        """
        self.ids, self.last, self.references = ids, last, references

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """The penalty times the samples of the batch."""
        states = final_states(forward.model, self.ids, self.last)
        return nn.functional.mse_loss(states, self.references) * forward.batch.samples


def anchor_tokens(token_ids: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """``[prompts, seq]`` right-padded ids and ``[prompts]`` index of each prompt's last token."""
    ids, mask = pad([list(row) for row in token_ids], padding_id=0, side="right", device=device)
    return ids, mask.sum(dim=1) - 1


def build(config: AnchorConstraint, materials: Materials) -> Anchor:
    """The constraint of a block of type ``anchor``.

    Raises:
        ModelError: there are fewer harmful train prompts than anchors.
    """
    initial = materials.required_initial(config.type)
    if config.prompts > len(initial.harmful):
        raise ModelError(
            f"constraint.prompts ({config.prompts}) is more than the {len(initial.harmful)} harmful train prompts that "
            f"the direction is extracted from: lower it, or raise direction.prompts"
        )
    chosen = random.Random(config.seed).sample(list(initial.harmful), config.prompts)
    ids, last = anchor_tokens(encode_prompts(initial.tokenizer, chosen), materials.device)
    with torch.no_grad(), measuring(initial.model):
        return Anchor(ids, last, final_states(initial.model, ids, last))
