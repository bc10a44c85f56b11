"""A base model in shards over the ranks, never whole on any of them (ZeRO 3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from transformers import AutoModelForCausalLM, PreTrainedModel

from training.distributed.gathering import gather_for_forward
from training.errors import ModelError
from training.models.library_warnings import silence_deprecations
from training.models.loading import DTYPES


def load_sharded_model(path: str | Path, precision: str, sharding: Mapping[str, Any]) -> PreTrainedModel:
    """The causal language model at ``path``, partitioned over the ranks, in evaluation mode; all ranks must call it.

    Rank 0 reads the files parameter by parameter, mapped into memory, and hands the parts round. Forward passes gather
    what they need and need all ranks.

    Args:
        path: a Hub id or a local directory.
        precision: ``fp32`` or ``bf16``.
        sharding: from :func:`training.distributed.deepspeed_config.sharding_config`.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers.integrations import HfDeepSpeedConfig

    silence_deprecations()
    zero3 = HfDeepSpeedConfig(dict(sharding))  # from_pretrained looks whether one is alive
    try:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=DTYPES[precision])
    except (OSError, ValueError) as error:
        raise ModelError(f"no causal language model could be loaded from {path}: {error}") from error
    finally:
        del zero3
    gather_for_forward(model, sharding)
    return cast(PreTrainedModel, model.eval())
