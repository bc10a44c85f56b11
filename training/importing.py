"""Importing what a training needs, without looking for garbage on the way."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage meanwhile, and never look through what was imported afterwards.

    torch, transformers and DeepSpeed leave some 400,000 objects that stay. Looking through them again and again is a
    sixth of the time of their import, and a quarter of a second of every collection, which DeepSpeed asks for several
    times an engine.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
