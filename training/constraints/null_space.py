"""Adapters that do not see what harmful prompts have in common: the null space of GuardSpace (arXiv 2510.14301).

    (W + B A P) x,   P = I - R R^T

R holds the main directions of the inputs X of an adapted layer over all tokens of harmful prompts, the eigenvectors of
X X^T with the largest eigenvalues. Whatever B and A become, an input in their span passes as before, and with it what
the layers behind see. The paper's P is made of the eigenvectors with eigenvalue 0; with more tokens than dimensions
there are none, so that ours takes out as many directions as it is told to. Ours: the other half of the method, adapters
that begin from the part of W that matters least to safety, is left out.

P is applied to what A is given while the training lasts, and then multiplied into A, so that what is exported are plain
adapters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from training.config import NullSpaceConstraint
from training.constraints.base import Constraint, ForwardPass
from training.constraints.materials import Materials
from training.data.chat import encode_prompts
from training.errors import ModelError
from training.models.batching import TokenIds, measuring, pad
from training.models.loading import decoder, decoder_layers

FILE = "null_space.pt"
"""In a checkpoint: by the name of every A, its directions."""
PROMPTS_PER_PASS = 32
A = "lora_A.default"
Hook = Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...] | None]


def main_directions(inputs: Tensor, count: int) -> Tensor:
    """``[width, count]`` orthonormal directions that hold most of the energy of ``inputs`` ``[tokens, width]``.

    Fewer columns where ``inputs`` have a smaller rank.
    """
    wide = inputs.double()
    tall = len(wide) >= wide.shape[1]
    values, vectors = torch.linalg.eigh(wide.mT @ wide if tall else wide @ wide.mT)
    kept = values > values[-1].clamp(min=0) * 1e-12
    values, vectors = values[kept].flip(0)[:count], vectors[:, kept].flip(1)[:, :count]
    found = vectors if tall else wide.mT @ vectors / values.sqrt()
    directions: Tensor = torch.linalg.qr(found).Q
    return directions.to(torch.promote_types(inputs.dtype, torch.float32))


def without(inputs: Tensor, directions: Tensor) -> Tensor:
    """``inputs`` ``[..., width]`` without their part along ``directions`` ``[width, count]``, in their own format."""
    wide = inputs.to(directions.dtype)
    return (wide - (wide @ directions) @ directions.mT).to(inputs.dtype)


class NullSpace(Constraint):
    """No penalty: what adapters are given is limited.

    Args:
        prompts: token ids of harmful prompts.
        count: directions per adapted layer.
    """

    reads_logits = False

    def __init__(self, prompts: TokenIds, count: int) -> None:
        self.prompts, self.count = prompts, count
        self.directions: dict[str, Tensor] = {}
        """By the name of every A, ``[width, count]``; empty before :meth:`around`."""

    def penalty_sum(self, forward: ForwardPass) -> Tensor:
        """Nothing."""
        return forward.logits.new_zeros(())

    @contextmanager
    def around(self, model: nn.Module) -> Iterator[None]:
        """While active, adapters of ``model``, which are new, do not see the directions; afterwards they hold that.

        Raises:
            ModelError: an adapter is narrower than ``count``, or of a kind that cannot be limited.
        """
        self.directions = self._found(model)
        matrices = {name: module for name, module in model.named_modules() if name in self.directions}
        handles = [module.register_forward_pre_hook(self._hook(name)) for name, module in matrices.items()]
        try:
            yield
            fold({f"{name}.weight": module.weight for name, module in matrices.items()}, self.directions)
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Hook:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (without(given[0], self.directions[name]), *given[1:])

        return hook

    def _found(self, model: nn.Module) -> dict[str, Tensor]:
        """Block by block, so that no more than the inputs of one are there at once."""
        from peft.tuners.lora.layer import LoraLayer, ParamWrapper

        found: dict[str, Tensor] = {}
        names = {module: name for name, module in model.named_modules() if isinstance(module, LoraLayer)}
        unfit = next((name for module, name in names.items() if isinstance(module, ParamWrapper)), None)
        if unfit is not None:
            raise ModelError(
                f"constraint.type (null_space) cannot limit the adapters of {unfit}: leave it out of targets"
            )
        for block in decoder_layers(model):
            adapted = [module for module in block.modules() if module in names]
            for module, inputs in zip(adapted, self._inputs(model, adapted), strict=True):
                name = f"{names[module]}.{A}"
                if inputs.shape[1] <= self.count:
                    raise ModelError(
                        f"constraint.directions ({self.count}) leaves nothing of the {inputs.shape[1]} inputs of "
                        f"{names[module]}: take fewer"
                    )
                found[name] = main_directions(inputs, self.count)
        return found

    def _inputs(self, model: nn.Module, modules: Sequence[nn.Module]) -> list[Tensor]:
        """``[tokens, width]`` what each of ``modules`` is given for the tokens of all prompts."""
        kept: list[list[Tensor]] = [[] for _ in modules]
        device = next(model.parameters()).device
        mask = torch.zeros(0, dtype=torch.bool)

        def reader(place: int) -> Hook:
            def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
                inputs = given[0]
                whole = inputs.shape[:-1] == mask.shape
                kept[place].append(inputs[mask] if whole else inputs.flatten(0, -2)[mask.flatten()])

            return hook

        handles = [module.register_forward_pre_hook(reader(place)) for place, module in enumerate(modules)]
        try:
            with measuring(model):
                for start in range(0, len(self.prompts), PROMPTS_PER_PASS):
                    rows = [list(row) for row in self.prompts[start : start + PROMPTS_PER_PASS]]
                    ids, there = pad(rows, padding_id=0, side="right", device=device)
                    mask = there.bool()
                    decoder(model)(input_ids=ids, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return [torch.cat(parts) for parts in kept]

    def save(self, directory: Path) -> None:
        """Write the directions into a checkpoint."""
        torch.save({name: one.cpu() for name, one in self.directions.items()}, directory / FILE)

    def load(self, directory: Path) -> None:
        """Take them from a checkpoint, so that nothing is rounded otherwise than before.

        Raises:
            Exception: as of ``torch.load``, of a file that is damaged or of another model.
        """
        found = torch.load(directory / FILE, map_location="cpu", weights_only=True)
        self.directions = {name: found[name].to(one.device) for name, one in self.directions.items()}


@torch.no_grad()
def fold(weights: Mapping[str, Tensor], directions: Mapping[str, Tensor]) -> None:
    """Multiply P into every A of ``weights``, in place."""
    for name, one in directions.items():
        weight = weights[f"{name}.weight"]
        weight.copy_(without(weight, one.to(weight.device)))


def folded(weights: dict[str, Tensor], checkpoint: Path) -> dict[str, Tensor]:
    """``weights`` of a checkpoint with P multiplied into every A."""
    fold(weights, torch.load(checkpoint / FILE, map_location="cpu", weights_only=True))
    return weights


def build(config: NullSpaceConstraint, materials: Materials) -> NullSpace:
    """The constraint of a block of type ``null_space``."""
    initial = materials.required_initial(config.type)
    return NullSpace(encode_prompts(initial.tokenizer, list(initial.harmful)), config.directions)
