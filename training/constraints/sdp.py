"""Safety-direction penalty (arXiv 2608.23497): squared displacement along refusal against compliance.

    L = L_CE + gamma * 1/|M| * sum_{l in M} d_l^2,   d_l = (h_t,l - h_0,l) . S_l

S_l is the normalised difference of means of the hidden states of templated refusing and compliant responses to the same
harmful prompts, at the last token; gamma is 0.5.

Interpretation: the paper as we have it does not say which tokens d_l is taken at (here: the response tokens, a setting)
nor how its prompts are templated (here: the model's chat template up to and including the end-of-turn token, which is
the last token). Its choice of the layers M, by comparing models before and after a first training, is left to the user.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.config import SdpConstraint
from training.constraints.layers import chosen_layers
from training.constraints.materials import Materials
from training.constraints.procon import Measure, ProCon
from training.data.chat import encode_samples
from training.direction.vectors import difference_of_means, last_token_states


def response_direction(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], refusal: str, compliance: str
) -> tuple[Tensor, Tensor]:
    """The direction from compliant to refusing responses at the end-of-turn token.

    Args:
        model: before training.
        tokenizer: with a chat template.
        prompts: harmful prompts, every one answered both ways.
        refusal: the refusing response.
        compliance: the compliant response.

    Returns:
        unit ``[layers, d_model]`` and separation ``[layers]``, float32.

    Raises:
        DirectionError: the responses cannot be told apart at a layer.
    """

    def states(response: str) -> Tensor:
        samples = encode_samples(tokenizer, prompts, [response] * len(prompts), sys.maxsize)
        return last_token_states(model, [sample.input_ids for sample in samples])

    return difference_of_means(states(refusal), states(compliance))


def build(config: SdpConstraint, materials: Materials) -> ProCon:
    """The constraint of a block of type ``sdp``: ProCon's with other directions, squared, mean over layers."""
    layers = chosen_layers(config.layers, materials.depth)
    initial = materials.required_initial(config.type)
    unit, separation = response_direction(
        initial.model, initial.tokenizer, initial.harmful, config.refusal, config.compliance
    )
    return ProCon(
        unit,
        separation,
        layers,
        Measure("squared", config.tokens, "mean", "mean"),
        materials.device,
        reference_precision=materials.reference_precision,
    )
