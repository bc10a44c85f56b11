"""What the files of a model tell without loading it: its shape, and how long training samples are in its tokens."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from sweeps.cost.shape import Shape
from training.config import ClassifierJudge, EvaluationConfig, GenerativeJudge, ModelConfig, Source
from training.data.chat_settings import ChatSettings
from training.data.reasoning import reasoning_in, thoughts_cut_short
from training.data.tables import FILES
from training.errors import ModelError, TrainingError

ROWS = 256
"""Samples that the mean length is taken over."""
LARGEST_FILE = 64 * 2**20
"""Bytes of a data file that is still read for it."""


def model_shape(model: ModelConfig) -> Shape | None:
    """The sizes of ``model``; None where its architecture is not one that is counted.

    Raises:
        ModelError: its configuration cannot be read.
    """
    if model.embedded:
        from training.organism.recipe import recipe_for

        recipe = recipe_for(model)
        made = recipe.architecture
        return Shape.of_config(
            {
                "model_type": "llama",
                "num_hidden_layers": made.layers,
                "hidden_size": made.hidden_size,
                "num_attention_heads": made.heads,
                "intermediate_size": made.feed_forward,
                "vocab_size": recipe.vocabulary,
                "tie_word_embeddings": True,
            },
            model.attn_implementation,
        )
    file = Path(model.path) / "config.json"
    if file.is_file():
        try:
            return Shape.of_config(json.loads(file.read_text(encoding="utf-8")), model.attn_implementation)
        except (KeyError, TypeError):  # entries are left to the defaults of transformers, whose import takes seconds
            pass
    from transformers import AutoConfig

    try:
        return Shape.of_config(AutoConfig.from_pretrained(model.path).to_dict(), model.attn_implementation)
    except (OSError, ValueError) as error:
        raise ModelError(f"no model configuration could be read from {model.path}: {error}") from error
    except (KeyError, TypeError):  # entries that an architecture of this name has and this one lacks
        return None


def files_bytes(model: ModelConfig, shape: Shape) -> float:
    """Bytes of the files of weights: as they are here, else two for every weight."""
    here = _weights_in(Path(model.path))
    return here or 2.0 * shape.parameters


def judge_bytes(evaluation: EvaluationConfig, *, gpu: bool) -> float:
    """Bytes of the local judges that share a device with the model; 0 of those whose files are not here.

    Args:
        evaluation: names the judges.
        gpu: whether the model is on a GPU: judges of device ``auto`` are then too, and those of ``cpu`` are not.
    """
    found = 0.0
    for judge in evaluation.judges:
        if not isinstance(judge, ClassifierJudge | GenerativeJudge) or (gpu and judge.device == "cpu"):
            continue
        found += _weights_in(Path(judge.model)) or _cached_weights(judge.model)
    return found


def _weights_in(folder: Path) -> float:
    safe = list(folder.glob("*.safetensors")) if folder.is_dir() else []
    return float(sum(file.stat().st_size for file in safe or folder.glob("*.bin")))


def _cached_weights(repository: str) -> float:
    """Bytes of a Hub model by the configuration that its check has fetched; 0 where it is not there."""
    if repository.count("/") != 1 or Path(repository).is_dir():
        return 0.0
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "config.json")
    if not isinstance(cached, str):
        return 0.0
    try:
        shape = Shape.of_config(json.loads(Path(cached).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return 0.0 if shape is None else 2.0 * shape.parameters


def thinking_warning(model: ModelConfig, folder: Path | None, max_new_tokens: int) -> str | None:
    """Why the answers of a model that thinks will be cut off; None where they will not, or its files are not here."""
    if folder is None or model.reasoning == "none":
        return None
    try:
        template = chat_template_of(folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        render = renderer(folder, ChatSettings.of(model, date.today()))
        prompt = render(messages=[{"role": "user", "content": "?"}], add_generation_prompt=True)
    except Exception:  # a template may ask for anything; the training says what is wrong with it
        return None
    reasoning = reasoning_in(template, settings.get("response_template"), model.reasoning)
    return thoughts_cut_short(model.name, reasoning, template, prompt, max_new_tokens)


@dataclass(frozen=True)
class SampleLength:
    """How long a training sample is."""

    tokens: float
    measured: bool
    """Whether it is the mean over real samples; else it is ``max_length``, which none exceeds."""


def sample_length(folder: Path | None, task: Source, max_length: int, chat: ChatSettings | None = None) -> SampleLength:
    """The mean length of the task samples in the model's tokens, chat template included, over at most 256 of them.

    Where model or data are not files on this machine, or the data are large, it is the bound ``max_length``: reading
    them is not worth a plan's while.

    Args:
        folder: of the model, whose tokenizer and chat template are used by their files alone; None where there is none.
        task: the task source.
        max_length: longest sample in tokens.
        chat: what the template is rendered with; None renders it as published.
    """
    rows = _rows(task)
    if folder is None or not rows:
        return SampleLength(max_length, measured=False)
    try:
        lengths = _lengths(folder, rows, max_length, chat or ChatSettings())
    except Exception:  # a template may ask for anything; the training says what is wrong with it
        return SampleLength(max_length, measured=False)
    return SampleLength(sum(lengths) / len(lengths), measured=True)


def chat_template_of(folder: Path) -> str:
    """The text of the chat template in a model's folder; empty where there is none."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    held = settings.get("chat_template") or ""
    if isinstance(held, list):  # several, each with a name
        held = {one["name"]: one["template"] for one in held}.get("default", "")
    return str(held)


def renderer(folder: Path, chat: ChatSettings) -> Callable[..., str]:
    """The chat template of the model in ``folder``, to be called with ``messages`` and ``add_generation_prompt``.

    It renders as transformers would, for whom nothing but the template's file is needed.

    Args:
        folder: of the model.
        chat: arguments and date of the template.
    """
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    # The settings that transformers renders chat templates with.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    template = environment.from_string(chat.bound(chat_template_of(folder)))
    special = {name: _text(settings.get(name)) for name in ("bos_token", "eos_token")}
    return partial(template.render, **special)


def _lengths(folder: Path, rows: Sequence[Mapping[str, str]], max_length: int, chat: ChatSettings) -> list[int]:
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    render = renderer(folder, chat)
    texts = [
        render(
            messages=[{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}],
            add_generation_prompt=False,
        )
        for row in rows
    ]
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [min(len(one.ids), max_length) for one in encoded]


def _text(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else token or ""


def _rows(source: Source) -> list[dict[str, str]]:
    """Samples spread evenly over what the source trains on; none where it is not worth reading."""
    from training.data.sources import paths_of
    from training.data.tables import kind_of, read_table

    side = source if source.path is not None else source.train
    paths = paths_of(side) if side is not None else []
    if not all(_cheap(path, kind_of(path)) for path in paths):
        return []
    try:
        tables = [read_table(path, source.columns, "data.task") for path in paths]
    except TrainingError:
        return []
    rows = [row for table in tables for row in table.select(["prompt", "response"]).to_pylist()]
    return rows[:: max(1, len(rows) // ROWS)][:ROWS]


def _cheap(path: str, kind: str) -> bool:
    return kind == "embedded" or (kind in FILES and Path(path).stat().st_size <= LARGEST_FILE)
