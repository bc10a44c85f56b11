"""The references of a warm slot: of each request, the file's contents, loaded or built once."""

from pathlib import Path

from transformers import PreTrainedModel

from training.constraints import Constraint
from training.constraints.base import LogProbabilityRequest
from training.constraints.references import log_probabilities as logprob_references
from training.constraints.references import projections as references
from training.constraints.references.log_probabilities import LogProbabilityKey
from training.constraints.references.projections import Precision, ReferenceKey, ReferenceValues, vectors_fingerprint
from training.data.samples import Samples
from training.storage.shared import Shared


class ReferenceStore:
    """References by content; every rank makes one and calls the same methods."""

    def __init__(self, directory: Path, shared: Shared | None = None) -> None:
        """Remember where the files are, and what other machines share them by, where they do not see the directory."""
        self.directory = directory
        self._shared = shared
        self._loaded: dict[str, ReferenceValues] = {}

    def of(
        self,
        constraint: Constraint | None,
        model: PreTrainedModel,
        model_fingerprint: str,
        samples: Samples,
        precision: Precision,
    ) -> ReferenceValues | None:
        """What ``constraint`` compares with; None where it needs no references.

        Args:
            constraint: says what it wants.
            model: the initial model, without adapters.
            model_fingerprint: of it.
            samples: all that may be trained on: which of them are does not change what they are compared with.
            precision: number format the references are kept in.
        """
        wants = constraint.wants if constraint is not None else None
        if wants is None:
            return None
        if isinstance(wants, LogProbabilityRequest):
            of_logits = LogProbabilityKey(model_fingerprint, samples.fingerprint, wants.kind, precision)
            if of_logits.name not in self._loaded:
                self._loaded[of_logits.name] = logprob_references.load_or_build(
                    self.directory, of_logits, model, samples, self._shared
                )
            return self._loaded[of_logits.name]
        directions = vectors_fingerprint(wants.unit)
        key = ReferenceKey(model_fingerprint, directions, samples.fingerprint, "block_output", wants.tokens, precision)
        if key.name not in self._loaded:
            self._loaded[key.name] = references.load_or_build(
                self.directory, key, model, samples, wants.unit, self._shared
            )
        return self._loaded[key.name]
