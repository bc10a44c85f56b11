"""Whether this process gets on with its work: a number that grows while it does, for whoever watches over it.

Imports nothing, so that whoever asks a server need not load torch.
"""

from typing import Any

_done = 0


def advance(*_of_a_hook: Any) -> None:
    """Something was done: a forward pass, a collective, an answer of a server, a look at a lock that is still held."""
    global _done
    _done += 1


def done() -> int:
    """How often."""
    return _done


def follow(model: Any) -> None:
    """Count every forward pass of a transformers model, by whatever wraps it: token embeddings are part of each."""
    embedding = model.get_input_embeddings()
    if embedding is not None:
        embedding.register_forward_pre_hook(advance)
