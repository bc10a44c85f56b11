"""Whether a repository is on the Hugging Face Hub, found out within seconds."""

import queue
import threading
from typing import Literal

PATIENCE = 5.0
"""Seconds that the Hub has for an answer; name resolution and retries heed no time-out of their own."""


def fault_on_hub(repository: str, kind: Literal["model", "dataset"]) -> str | None:
    """Why ``repository`` cannot be had from the Hub, as the end of a sentence; None where it can, or is cached.

    In offline mode (``HF_HUB_OFFLINE``) the cache alone counts, and whoever loads from it says what it lacks.

    Args:
        repository: ``owner/name`` or ``name``.
        kind: of repository.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError:
        return "no name of a repository on the Hugging Face Hub is written so: check the path"
    if constants.HF_HUB_OFFLINE:
        return None
    answers: queue.Queue[Exception | None] = queue.Queue()
    threading.Thread(target=lambda: answers.put(_asked(repository, kind)), daemon=True).start()
    try:
        error = answers.get(timeout=PATIENCE + 1)
    except queue.Empty:
        error = TimeoutError(f"no answer within {PATIENCE:g} s")
    return None if error is None else _sentence(error)


def _asked(repository: str, kind: Literal["model", "dataset"]) -> Exception | None:
    from huggingface_hub import HfApi

    try:
        HfApi().repo_info(repository, repo_type=kind, timeout=PATIENCE)
    except Exception as error:  # the Hub's, and of whatever HTTP library it uses in this release
        return error
    return None


def _sentence(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return "on the Hugging Face Hub it is gated: accept its licence there and log in (hf auth login)"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hugging Face Hub has no such repository, or not for you: check the spelling, or log in"
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return (
        f"the Hugging Face Hub cannot be reached ({reason}): check the path if it is a local one, check the network, "
        "or set HF_HUB_OFFLINE=1 to use what was downloaded before"
    )
