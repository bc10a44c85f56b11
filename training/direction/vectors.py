"""The refusal direction of every layer: extraction, identity, storage (Arditi et al., arXiv 2406.11717)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.data.chat import encode_prompts
from training.distributed.lockstep import in_step
from training.errors import DirectionError
from training.models.batching import BatchSize, TokenIds, in_batches, measuring, pad
from training.models.loading import base_model, decoder_layers
from training.models.residual import Site, capture
from training.models.room import rows_read

TENSORS_FILE = "direction.safetensors"
METADATA_FILE = "direction.json"


@dataclass(frozen=True, eq=False)
class Direction:
    """Unit refusal directions of one model, one per decoder layer; two are the same where their fingerprints are."""

    unit: Tensor
    """``[layers, d_model]`` float32, each row of length 1, on the CPU."""
    separation: Tensor
    """``[layers]`` float32: distance of the harmful from the harmless mean, in the residual stream's unit."""
    site: Site
    """Where in the block the residual stream was read."""
    model: str
    """Fingerprint of the model it was extracted from."""
    harmful_prompts: int
    """How many harmful prompts the mean is taken over."""
    harmless_prompts: int
    """How many harmless prompts the mean is taken over."""
    dropped_harmful: int = 0
    """How many harmful prompts were left out, since the model does not refuse them."""
    dropped_harmless: int = 0
    """How many harmless prompts were left out, since the model refuses them."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of its content: equal exactly for equal vectors, site and model."""
        digest = hashlib.sha256(json.dumps([self.site, self.model, list(self.unit.shape)]).encode())
        for tensor in (self.unit, self.separation):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.unit.shape[0]

    @property
    def width(self) -> int:
        """Width ``d_model`` of the residual stream."""
        return self.unit.shape[1]

    def save(self, directory: Path) -> None:
        """Write ``direction.safetensors`` and then ``direction.json``, whose presence means that both are complete."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {"unit": self.unit.contiguous(), "separation": self.separation.contiguous()}
        save_file(tensors, directory / TENSORS_FILE)
        metadata = {
            "site": self.site,
            "model": self.model,
            "harmful_prompts": self.harmful_prompts,
            "harmless_prompts": self.harmless_prompts,
            "dropped_harmful": self.dropped_harmful,
            "dropped_harmless": self.dropped_harmless,
            "layers": self.layers,
            "width": self.width,
            "fingerprint": self.fingerprint,
        }
        partial = directory / f".{METADATA_FILE}"
        partial.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
        partial.replace(directory / METADATA_FILE)

    @classmethod
    def load(cls, directory: Path, *, expected_model: str | None = None, width: int | None = None) -> Self:
        """Read what :meth:`save` wrote.

        Args:
            directory: where it was saved.
            expected_model: fingerprint the direction must have been made for; None accepts any.
            width: ``d_model`` it must have; None accepts any.

        Raises:
            DirectionError: it is missing, damaged, or belongs to another model.
        """
        try:
            tensors = load_file(directory / TENSORS_FILE)
            metadata = json.loads((directory / METADATA_FILE).read_text(encoding="utf-8"))
            direction = cls(
                unit=tensors["unit"],
                separation=tensors["separation"],
                site=metadata["site"],
                model=metadata["model"],
                harmful_prompts=metadata["harmful_prompts"],
                harmless_prompts=metadata["harmless_prompts"],
                dropped_harmful=metadata["dropped_harmful"],
                dropped_harmless=metadata["dropped_harmless"],
            )
            saved_fingerprint = metadata["fingerprint"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise DirectionError(
                f"{directory} holds no readable direction ({error}): remove the folder, and it is extracted again"
            ) from error
        if direction.fingerprint != saved_fingerprint:
            raise DirectionError(
                f"the direction in {directory} does not match its own fingerprint: remove the folder, and it is "
                "extracted again"
            )
        if expected_model is not None and direction.model != expected_model:
            raise DirectionError(
                f"the direction in {directory} was made for model {direction.model}, not {expected_model}: "
                "extract one from this model"
            )
        if width is not None and direction.width != width:
            raise DirectionError(
                f"the direction in {directory} is {direction.width} wide, but the model's residual stream is {width} "
                "wide: extract one from this model"
            )
        return direction


def last_token_states(
    model: torch.nn.Module,
    token_ids: TokenIds,
    *,
    site: Site = "block_output",
    batch_size: int | BatchSize = 64,
) -> Tensor:
    """The residual stream at the last token of every row, from the decoder alone (no output head).

    Rows are padded on the right: under causal attention nothing to the right of a token reaches it. All ranks must call
    it where the model is sharded, with whatever rows each has.

    Args:
        model: a causal language model, with or without adapters.
        token_ids: one list per prompt, none empty.
        site: before or after each block.
        batch_size: prompts per forward pass.

    Returns:
        ``[prompts, layers, d_model]`` float32 on the CPU, in the order of ``token_ids``.
    """
    base = base_model(model)
    decoder = base.get_decoder()
    layers = range(len(decoder_layers(base)))
    rows: list[Tensor] = [torch.empty(0)] * len(token_ids)
    with measuring(base), capture(base, layers, site) as states, in_step(decoder, base.device) as forward:

        def last_states(batch: list[int]) -> Tensor:
            ids, mask = pad([token_ids[index] for index in batch], padding_id=0, side="right", device=base.device)
            forward(input_ids=ids, use_cache=False)
            last = mask.sum(dim=1) - 1
            row = torch.arange(len(batch), device=base.device)
            return torch.stack([states[layer][row, last] for layer in layers], dim=1).float().cpu()

        room = rows_read(base, captured=len(layers))
        for batch, found in in_batches([len(ids) for ids in token_ids], batch_size, last_states, room):
            for index, state in zip(batch, found, strict=True):
                rows[index] = state
    return torch.stack(rows) if rows else torch.empty(0, len(layers), base.config.get_text_config().hidden_size)


def last_prompt_states(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    site: Site = "block_output",
    batch_size: int | BatchSize = 64,
) -> Tensor:
    """The residual stream at the last token of every prompt in its chat template.

    Returns:
        ``[prompts, layers, d_model]`` float32 on the CPU, in the order of ``prompts``.
    """
    return last_token_states(model, encode_prompts(tokenizer, prompts), site=site, batch_size=batch_size)


def difference_of_means(harmful: Tensor, harmless: Tensor) -> tuple[Tensor, Tensor]:
    """Unit direction from the harmless to the harmful mean of every layer, and the distance between the means.

    Args:
        harmful: states ``[prompts, layers, d_model]``.
        harmless: states ``[prompts, layers, d_model]``.

    Returns:
        unit ``[layers, d_model]`` and separation ``[layers]``, float32; sums run in float64.

    Raises:
        DirectionError: the means of a layer coincide, or are not finite.
    """
    wide = harmless.double()
    return unit_difference(harmful.double().mean(dim=0) - wide.mean(dim=0), wide.norm(dim=-1).mean(dim=0))


def unit_difference(difference: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The direction that a difference between means has in every layer, and its length.

    Args:
        difference: ``[layers, d_model]`` float64, from the harmless to the harmful mean.
        scale: ``[layers]`` mean length of the harmless states.

    Returns:
        unit ``[layers, d_model]`` and separation ``[layers]``, float32.

    Raises:
        DirectionError: the means of a layer coincide, or are not finite.
    """
    separation = difference.norm(dim=-1)
    # Below the rounding noise of the float32 states a difference is not a direction.
    lost = (~(separation > 1e-6 * scale)).nonzero().flatten().tolist()
    if lost:
        raise DirectionError(
            f"harmful and harmless prompts cannot be told apart at layer {lost[0]}, so there is no refusal direction: "
            "check that data.harmful and data.harmless hold different prompts (a model whose first layers are short "
            "convolutions, such as LFM2, sees only the end of its chat template there, and cannot be used)"
        )
    return (difference / separation[:, None]).float(), separation.float()


def extract_direction(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    harmful: Sequence[str],
    harmless: Sequence[str],
    site: Site = "block_output",
    model_fingerprint: str = "",
    batch_size: int = 64,
) -> Direction:
    """The refusal direction of every layer: difference of means at the last prompt token (arXiv 2406.11717, eq. 1-3).

    Args:
        model: the model as it is before fine-tuning.
        tokenizer: with the chat template that training uses.
        harmful: harmful prompts.
        harmless: harmless prompts.
        site: where the residual stream is read.
        model_fingerprint: identity of ``model``, checked when the direction is loaded.
        batch_size: prompts per forward pass.

    Raises:
        DirectionError: there are no prompts, or the two means of a layer coincide.
    """
    if site not in get_args(Site):
        raise DirectionError(f"site ({site!r}) is unknown: use {' or '.join(get_args(Site))}")
    for name, prompts in (("harmful", harmful), ("harmless", harmless)):
        if not prompts:
            raise DirectionError(f"there are no {name} prompts to extract a direction from: add some to data.{name}")
    unit, separation = difference_of_means(
        last_prompt_states(model, tokenizer, harmful, site, batch_size),
        last_prompt_states(model, tokenizer, harmless, site, batch_size),
    )
    return Direction(unit, separation, site, model_fingerprint, len(harmful), len(harmless))
