"""Whether a model can be fine-tuned and asked here, found out from its small files: no weights are loaded."""

import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.config import ModelConfig
from training.data.chat_settings import ChatSettings
from training.data.hub import fault_on_hub
from training.errors import ModelError
from training.models.weight_files import PICKLED, PICKLED_INDEX, SAFE, SAFE_INDEX, check_weights, pickled_alone

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
)
"""Files that a tokenizer is read from, any one of which will do."""
_SMALL = ("*.json", "*.jinja", "*.model", "*.txt")


def check_model(model: ModelConfig, field: str, say: Callable[[str], None]) -> Path:
    """Refuse a model whose configuration, tokenizer files, chat template or weights are missing or cannot be used.

    Args:
        model: not an embedded one.
        field: dotted name of its path in the specification.
        say: told in a sentence of what takes long.

    Returns:
        The folder with its configuration and tokenizer; the weights of a Hub model may still have to be downloaded.

    Raises:
        ModelError: naming field, value and fix.
    """
    where = f"{field} ({model.path})"
    local = Path(model.path)
    if local.exists() or local.is_absolute():
        folder = _local(local, where)
        check_weights(folder, where, pickled=model.pickled_weights)
    else:
        folder = _from_hub(model.path, where, model.pickled_weights, say)
    _check_config(folder, where)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(
            f"{where} has no tokenizer files (tokenizer.json or tokenizer.model): copy those of the model it was "
            "trained from there, with AutoTokenizer.from_pretrained(…).save_pretrained(…)"
        )
    if not _template_is_there(folder):
        raise ModelError(
            f"{where} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): use a "
            "chat (instruct) model, or add one"
        )
    return folder


def model_tokenizer(folder: Path, field: str, model: ModelConfig) -> "PreTrainedTokenizerBase":
    """The tokenizer of ``model`` in ``folder``, as training loads it, with the arguments of its chat template.

    Raises:
        ModelError: it cannot be loaded, or lacks what training needs of it.
    """
    from training.models.loading import load_tokenizer  # imports transformers and torch

    try:
        return load_tokenizer(folder, ChatSettings.of(model, date.today()))
    except ModelError as error:
        raise ModelError(f"{field} ({model.path}): {error}") from error


def check_architecture(folder: Path, where: str) -> None:
    """Refuse a configuration that transformers, as it is installed, makes no causal language model of.

    Raises:
        ModelError: naming the model type.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    named = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in named and named.get("model_type") not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(f"{where} needs code of its own (auto_map in config.json), which is not run: use another")
    try:
        config = AutoConfig.from_pretrained(folder)
        layers = int(config.get_text_config().num_hidden_layers)
    except Exception as error:  # every architecture checks its own fields in its own way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{where}: transformers cannot use its config.json ({reason}): repair it, or install the version of "
            "transformers that knows it"
        ) from error
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or layers < 1:
        raise ModelError(
            f"{where} is of type {config.model_type}, which transformers makes no causal language model of: use one"
        )


def _local(folder: Path, where: str) -> Path:
    if not folder.exists():
        raise ModelError(
            f"{where}: there is no such folder; correct the path (relative ones start from {os.getcwd()}), or give a "
            "Hugging Face Hub id (owner/name)"
        )
    if not folder.is_dir():
        raise ModelError(f"{where} is a file: give the folder that it is in")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"{where} holds an adapter and no model: merge it first (procon export … --merged)")
        raise ModelError(f"{where} has no config.json: give a folder that transformers saved a model to")
    return folder


def _from_hub(repository: str, where: str, pickled: bool, say: Callable[[str], None]) -> Path:
    """The cached snapshot of ``repository``; fetches its small files where they are not there."""
    from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache

    absent = f"{where} is no folder here, and"
    cached = try_to_load_from_cache(repository, "config.json") if repository.count("/") < 2 else None
    if isinstance(cached, str):
        folder = Path(cached).parent
        if any((folder / name).exists() for name in (SAFE, SAFE_INDEX, PICKLED, PICKLED_INDEX)):
            try:
                check_weights(folder, where, pickled=pickled)
                return folder
            except ModelError:
                if constants.HF_HUB_OFFLINE:
                    raise
    say(f"looking for {repository} on the Hugging Face Hub")
    fault = fault_on_hub(repository, "model")
    if fault is None and constants.HF_HUB_OFFLINE:
        fault = (
            "the cache of the Hugging Face Hub does not hold all of it while HF_HUB_OFFLINE forbids to look there: "
            "correct the path, or download the model first"
        )
    if fault:
        raise ModelError(f"{absent} {fault}")
    try:
        files = HfApi().list_repo_files(repository)
        if not any(file in (SAFE, SAFE_INDEX, PICKLED, PICKLED_INDEX) for file in files):
            raise ModelError(f"{where} has no weights on the Hugging Face Hub ({SAFE}): use another repository")
        if not pickled and not any(file in (SAFE, SAFE_INDEX) for file in files):
            raise pickled_alone(where)
        return Path(snapshot_download(repository, allow_patterns=list(_SMALL), etag_timeout=5))
    except ModelError:
        raise
    except Exception as error:  # the Hub's, and of whatever HTTP library it uses in this release
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{absent} its files cannot be had from the Hugging Face Hub ({reason}): log in where it is gated, or "
            "check the network"
        ) from error


def _check_config(folder: Path, where: str) -> None:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{where}: its config.json is no valid JSON ({error}): download it again") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(
            f"{where}: its config.json names no model_type: give a folder that transformers saved a model to"
        )


def _template_is_there(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    if any((folder / "additional_chat_templates").glob("*.jinja")):
        return True
    return bool(_settings(folder / "tokenizer_config.json").get("chat_template"))


def _settings(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
