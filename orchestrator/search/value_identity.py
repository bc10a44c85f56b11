"""Whether two measured values are of the same thing: all that could have changed them, and what differs (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from orchestrator.record.spec_changes import flattened
from training.config import DataConfig, DirectionConfig, EvaluationConfig, ModelConfig, TrialConfig

Identity = dict[str, Any]
"""What a value depends on, by dotted path of the specification's fields."""

WITHOUT_EFFECT = (
    "model.name",  # what it is called; its weights are told by their content
    "model.path",
    "model.pickled_weights",
    "direction.on_failure",  # whether to go on, not with what
    "evaluation.batch_size",
    "evaluation.keep_answers",
    "evaluation.scales",  # other models, none of which is searched
    "evaluation.scales_of",
    "evaluation.strict",
    # How a generator is reached. Which it is counts: a probe bounds how far a server is off, but what rounding it has
    # it has in every answer, and a front orders trials by less than that changes.
    "evaluation.generator.endpoint",
    "evaluation.generator.model",
    "evaluation.generator.adapter_dir",
    "evaluation.generator.api_key_env",
    "evaluation.generator.timeout",
    "evaluation.generator.retries",
    "evaluation.generator.backoff",
    "evaluation.generator.concurrency",
    "evaluation.lm_eval.batch_size",
    "evaluation.judges.*.device",
    "evaluation.judges.*.batch_size",
    "evaluation.judges.*.api_key_env",
    "evaluation.judges.*.timeout",
    "evaluation.judges.*.retries",
    "evaluation.judges.*.backoff",
    "evaluation.judges.*.requests_per_minute",
    "evaluation.judges.*.concurrency",
    "trial.seed",  # another draw of the same value
    "trial.log_every",
    "trial.checkpoint_every",
    "trial.micro_batch_size",
    "trial.gradient_checkpointing",
    "trial.packing",
    "trial.deepspeed.zero_stage",
)
"""Fields under which a value is still of the same thing. Every other one counts, also those that are yet to come."""


@dataclass(frozen=True)
class Measured:
    """What all trials of one model in one sweep have in common; blocks as dumped, checked or of another version."""

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    direction: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    manifest: Mapping[str, Any]
    """As recorded: ``models``, ``judges`` and ``data`` hold hashes, ``versions`` and
    ``plugins`` those of packages."""
    dated: bool = False
    """Whether the model's chat template prints the date, so that the sweep's day is part of every prompt."""

    @classmethod
    def of(cls, spec: Mapping[str, Any], model: str, manifest: Mapping[str, Any]) -> Self:
        """What the values of the model that is called ``model`` depend on, by a dumped specification."""
        chosen: Mapping[str, Any] = next((one for one in spec.get("models", []) if one.get("name") == model), {})
        return cls(chosen, spec.get("data", {}), spec.get("direction", {}), spec.get("evaluation", {}), manifest)

    @property
    def identity(self) -> Identity:
        """What their values depend on besides their own settings.

        Files are what is in them, wherever they lie: their hashes stand in place of their paths. What the manifest has
        no hash of, such as a set on the Hub, is its name.
        """
        name, hashes = str(self.model.get("name")), self.manifest.get("data", {}) | self.manifest.get("judges", {})
        return _counting(
            {
                "date": self.manifest.get("date") if self.dated else None,
                "version": self.manifest.get("versions", {}).get("procon-sweeps"),
                "plugins": self.manifest.get("plugins") or {},
                "weights": self.manifest.get("models", {}).get(name) or self.model.get("path"),
                "model": _complete(ModelConfig, self.model),
                "data": _by_content(_complete(DataConfig, self.data), hashes),
                "direction": _complete(DirectionConfig, self.direction),
                "evaluation": _by_content(_complete(EvaluationConfig, self.evaluation), hashes),
            }
        )


def settings_identity(trial: TrialConfig) -> Identity:
    """What a trial's values depend on of its own settings."""
    return _counting({"trial": trial.model_dump(mode="json")})


def differences(one: Identity, other: Identity) -> list[str]:
    """The fields in which two values are of different things, in order of their names."""
    return [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


def _counting(tree: Mapping[str, Any]) -> Identity:
    return {
        name: value
        for name, value in flattened(tree).items()
        if not any(fnmatchcase(name, pattern) for pattern in WITHOUT_EFFECT)
    }


def _complete(block: type[BaseModel], dumped: Mapping[str, Any]) -> Mapping[str, Any]:
    """``dumped`` with the defaults of fields that are newer; as it is where this version does not understand it."""
    try:
        complete: dict[str, Any] = block.model_validate(dumped).model_dump(mode="json")
        return complete
    except ValidationError:
        return dumped


def _by_content(value: Any, files: Mapping[str, Any]) -> Any:
    """``value`` with the hash of each file in place of its path."""
    if isinstance(value, Mapping):
        return {key: _by_content(one, files) for key, one in value.items()}
    if isinstance(value, list):
        return [_by_content(one, files) for one in value]
    return files.get(value) or value if isinstance(value, str) else value
