"""Checkpoints are DeepSpeed's, which are pickles: of them data is taken, and no code is run."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.serialization import safe_globals

_FORCED, _FORBIDDEN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@contextmanager
def data_alone() -> Iterator[None]:
    """While active, ``torch.load`` takes tensors, plain values and DeepSpeed's own records of them, whoever calls it.

    DeepSpeed asks it for anything that a pickle can do, and whoever can write to a shared folder could then run code
    on every node. What else is in a file raises ``pickle.UnpicklingError``.
    """
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = {name: os.environ.pop(name, None) for name in (_FORCED, _FORBIDDEN)}
    os.environ[_FORCED] = "1"
    try:
        with safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        del os.environ[_FORCED]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def damaged_part(files: Iterable[Path]) -> str | None:
    """What is damaged in files that ``torch.save`` wrote, by the check sums in them; None where nothing is.

    They are read once more than they need be: a flipped bit in a weight raises nothing when it is loaded.
    """
    for file in files:
        try:
            with zipfile.ZipFile(file) as archive:
                part = archive.testzip()
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            return f"{file.name}: {error}"
        if part is not None:
            return f"{file.name}: {part} is not what was written"
    return None
