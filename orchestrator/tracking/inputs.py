"""The data of a sweep as inputs of MLflow's runs: for the training, for the direction, for the evaluation."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.record.fingerprints import paths_of
from orchestrator.record.trials import TrialRecord
from sweeps.schema.spec import SweepSpec
from training.config import TRAINED_ON, Source
from training.secrets import without_secrets

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

DIGEST = 32
"""Characters of a digest; MLflow takes 36."""
CONTEXT = "mlflow.data.context"
Split = Literal["train", "test"]


class SweepData:
    """The data of one sweep by the use that is made of it.

    Args:
        spec: names the sources.
        manifest: holds what tells the contents of local files, and the version of the embedded sets.
    """

    def __init__(self, spec: SweepSpec, manifest: Mapping[str, Any]) -> None:
        sources = spec.data.sources
        hashes: Mapping[str, str] = manifest.get("data", {})
        version = manifest.get("versions", {}).get("procon-sweeps")

        def described(name: str, split: Split) -> tuple[str, str, str, str]:
            return f"{name}.{split}", *_described(sources[name], split, hashes, version)

        self._trained = {name: described(name, "train") for name in ("task", *TRAINED_ON) if name in sources}
        self._direction = [described(name, "train") for name in ("harmful", "harmless")]
        self._measured = [described(name, "test") for name in sources if name not in TRAINED_ON]

    def of(self, record: TrialRecord) -> list["DatasetInput"]:
        """What one trial or reference was made of: the untouched model was trained on nothing."""
        trial = record.trial
        uses = {
            "task": trial is not None,
            "safety": bool(trial and (trial.get("safety_share") or trial.get("safety_count"))),
            "malicious": bool(trial and trial.get("malicious_count")),
        }
        return self._inputs([one for name, one in self._trained.items() if uses[name]])

    @property
    def everything(self) -> list["DatasetInput"]:
        """What the sweep may make use of."""
        return self._inputs(list(self._trained.values()))

    def digests(self, record: TrialRecord) -> dict[str, str]:
        """Digest by name of what :meth:`of` gives."""
        return {one.dataset.name: one.dataset.digest for one in self.of(record)}

    def _inputs(self, trained: Sequence[tuple[str, str, str, str]]) -> list["DatasetInput"]:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        return [
            DatasetInput(Dataset(name, digest, kind, source), [InputTag(CONTEXT, use)])
            for use, found in (("training", trained), ("direction", self._direction), ("evaluation", self._measured))
            for name, digest, kind, source in found
        ]


def _described(source: Source, split: Split, hashes: Mapping[str, str], version: str | None) -> tuple[str, str, str]:
    """Digest, kind and a description in JSON of one split of ``source``.

    The digest changes with whatever changes the rows: the files' contents, the columns, the draw. Of a Hub id it knows
    the id and not the rows, and of an embedded set the version that brings it.
    """
    part = source.train if split == "train" else source.test
    own = paths_of(source) if part is None else [part.path] if isinstance(part.path, str) else part.path
    known = {path: hashes[path] for path in own if path in hashes}
    embedded = [path for path in own if path.startswith("organism/")]
    kind = (
        "embedded" if embedded else "local" if any(path.startswith(("/", "~", ".")) for path in own) else "huggingface"
    )
    contents = [known.get(path) or (f"{path} {version}" if path in embedded else path) for path in own]
    drawn = source.model_dump(mode="json", include={"columns", "split_seed", "limit"})
    rows = {"contents": contents, "split": split, "rows": part.split if part is not None else None, **drawn}
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:DIGEST]
    shown = {"paths": [without_secrets(path) for path in own], "split": split, **drawn}
    shown |= {"sha256": {Path(path).name: value for path, value in known.items()}}
    return digest, kind, json.dumps(shown)
