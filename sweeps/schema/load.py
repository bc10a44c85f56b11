"""From a YAML file and ``a.b=c`` overrides to a checked :class:`SweepSpec`; every refusal is a sentence."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeps.advice import quoted
from sweeps.errors import SpecError
from sweeps.schema.faults import sentences
from sweeps.schema.spec import SweepSpec
from sweeps.schema.spec_files import find_spec, preset_names, read_spec
from sweeps.schema.yaml_text import YamlFault, read_yaml
from sweeps.space.conditions import value_at
from training.config import EvaluationConfig, ModelConfig, Source, SplitSource, looks_local

__all__ = ["change_spec", "load_spec", "preset_names"]

LENGTHS = {"trial.steps": "trial.epochs", "trial.constraint.warmup_steps": "trial.constraint.warmup_epochs"}
"""Lengths in optimizer steps, and what they follow from where it is given."""


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """The sweep that the YAML file at ``path`` describes, with ``overrides`` applied and paths made absolute.

    Args:
        path: a YAML file, or the name of a preset that ships with the project (``demo``).
        overrides: ``a.b=value`` each, the value read as YAML; numbers reach into lists (``objectives.0.metric=…``).

    Raises:
        SpecError: the file, an override or a value is wrong; one line per fault.
    """
    file = find_spec(path)
    tree = read_spec(file)
    root = Path(tree["data_root"]) if isinstance(tree.get("data_root"), str) else file.parent
    root = root if root.is_absolute() else file.parent / root
    for override in overrides:
        dotted, value = _parse_override(override)
        tree = _set(tree, dotted.split("."), value, override)
        if dotted == "data_root" and isinstance(value, str):
            root = Path(value)  # typed on the command line, so it starts from where the command was typed
    spec = _validate(tree)
    return _absolute(spec, root.resolve())


def change_spec(spec: SweepSpec, overrides: Sequence[str]) -> SweepSpec:
    """``spec`` with ``overrides`` applied; relative paths in them start from the spec's ``data_root``.

    Raises:
        SpecError: an override or a value is wrong; one line per fault.
    """
    tree: dict[str, Any] = spec.model_dump(mode="json")
    asked = [(override, *_parse_override(override)) for override in overrides]
    for override, dotted, value in asked:
        tree = _set(tree, dotted.split("."), value, override)
        if dotted.startswith("data"):
            _uncount(tree["trial"])
    changed = _validate(tree)
    for override, dotted, value in asked:
        for path, epochs in LENGTHS.items():
            if dotted == path and value_at(changed.model_dump(), path) != value:
                raise SpecError(f"--set ({override!r}) has no effect: {epochs} decides; take it away by {epochs}=null")
    return _absolute(changed, Path(changed.data_root)) if changed.data_root else changed


def _uncount(trial: dict[str, Any]) -> None:
    """Forget the task samples, which are others now, and the steps that followed from their number."""
    trial["task_samples"] = None
    if trial["epochs"] is not None:
        trial.pop("steps", None)
    if trial["constraint"].get("warmup_epochs") is not None:
        trial["constraint"].pop("warmup_steps", None)


def _parse_override(text: str) -> tuple[str, Any]:
    dotted, equals, raw = text.partition("=")
    if not equals or not dotted.strip(".").strip():
        raise SpecError(f"--set ({quoted(text)}) is not understood: write field.name=value")
    try:
        return dotted.strip(), _number(read_yaml(raw))
    except YamlFault as error:
        raise SpecError(f"--set ({quoted(text)}) has a value that is not valid YAML ({error}): quote it") from error


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-2`` as text; a person means a number."""
    if isinstance(value, str):
        try:
            return float(value) if value[:1] in "+-.0123456789" else value
        except ValueError:
            return value
    return value


def _set(node: Any, keys: list[str], value: Any, override: str) -> Any:
    """A copy of the nested lists and mappings ``node`` with ``value`` at ``keys``."""
    key, rest = keys[0], keys[1:]
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            last = len(node) - 1
            raise SpecError(f"--set ({override!r}) names item {key!r} of a list of {len(node)}: use 0 to {last}")
        changed = _set(node[int(key)], rest, value, override) if rest else value
        return [*node[: int(key)], changed, *node[int(key) + 1 :]]
    branch = node if isinstance(node, Mapping) else {}
    return {**branch, key: _set(branch.get(key), rest, value, override) if rest else value}


def _validate(tree: dict[str, Any]) -> SweepSpec:
    try:
        return SweepSpec.model_validate(_numbers(tree))
    except ValidationError as error:
        raise SpecError("\n".join(sentences(error.errors()))) from error


def _numbers(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _numbers(value) for key, value in node.items()}
    return [_numbers(value) for value in node] if isinstance(node, list) else _number(node)


def _absolute(spec: SweepSpec, root: Path) -> SweepSpec:
    """The spec with every local path absolute, so that workers on other nodes read the same files."""
    data = spec.data.with_sources({name: _absolute_source(one, root) for name, one in spec.data.sources.items()})
    models = [_absolute_model(model) for model in spec.models]
    evaluation = _absolute_evaluation(spec.evaluation, root)
    return spec.model_copy(update={"data": data, "models": models, "evaluation": evaluation, "data_root": str(root)})


def _absolute_evaluation(evaluation: EvaluationConfig, root: Path) -> EvaluationConfig:
    if evaluation.lm_eval is None or evaluation.lm_eval.include_path is None:
        return evaluation
    folder = str((root / Path(evaluation.lm_eval.include_path).expanduser()).resolve())
    lm_eval = evaluation.lm_eval.model_copy(update={"include_path": folder})
    return evaluation.model_copy(update={"lm_eval": lm_eval})


def _absolute_model(model: ModelConfig) -> ModelConfig:
    local = not model.embedded and looks_local(model.path, Path())
    path = str(Path(model.path).expanduser().resolve()) if local else model.path
    return model.model_copy(update={"path": path})


def _absolute_source(source: Source, root: Path) -> Source:
    if source.path is not None:
        return source.model_copy(update={"path": _absolute_path(source.path, root)})
    splits = {
        name: split.model_copy(update={"path": _absolute_path(split.path, root)})
        for name in ("train", "test")
        if isinstance(split := getattr(source, name), SplitSource)
    }
    return source.model_copy(update=splits)


def _absolute_path(path: str | list[str], root: Path) -> str | list[str]:
    if isinstance(path, list):
        return [str(_absolute_path(one, root)) for one in path]
    if path.startswith("organism/"):
        return path
    file = Path(path).expanduser()
    if file.suffix in (".parquet", ".jsonl", ".json", ".csv", ".tsv") or looks_local(path, root):
        return str(file if file.is_absolute() else (root / file).resolve())
    return path
