"""Who writes the answers that a trial is measured by."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from training.config.base import Config
from training.config.endpoint import KeyVariable, Url


def _absolute(folder: str) -> str:
    return str(Path(folder).expanduser().absolute())


class TransformersGenerator(Config):
    """The model in training itself, on the devices that it was trained on."""

    type: Literal["transformers"] = "transformers"


class VllmGenerator(Config):
    """A vLLM server of the same base model, which is given the adapter of each trial; see docs/measurement.md."""

    type: Literal["vllm"] = "vllm"
    endpoint: Url
    """Base address of the server, such as ``http://localhost:8000/v1``."""
    model: str | None = Field(default=None, min_length=1)
    """Name of the base model there; None takes the first that it lists."""
    adapter_dir: Annotated[str, Field(min_length=1), AfterValidator(_absolute)] | None = None
    """Folder that workers and server see under the same path, in which each adapter lies while it is served; None takes
    ``served`` in the sweep's folder."""
    api_key_env: KeyVariable | None = None
    """Name of the environment variable that holds the key; None sends no key."""
    timeout: PositiveFloat = 300.0
    """Longest wait for one response, in seconds: an answer of ``max_new_tokens``, or an adapter that is loaded."""
    retries: NonNegativeInt = 5
    """Further attempts after a timeout, a lost connection or a status 429, 502, 503 or 504; then the trial fails."""
    backoff: PositiveFloat = 4.0
    """Seconds before the second attempt; they double with each further one up to a minute, and are stretched at random.
    With the default ``retries`` a server that is down is waited for two to three minutes."""
    concurrency: PositiveInt = 64
    """Requests under way at once, of each rank."""


Generator = Annotated[TransformersGenerator | VllmGenerator, Field(discriminator="type")]
"""Any generator, by its ``type``."""
