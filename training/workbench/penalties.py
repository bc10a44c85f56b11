"""The constraint of a trial as it is trained: built, as strong as it is meant to be, with what it compares with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from training.config import Constraint as ConstraintBlock
from training.config import FeatureL2Constraint, FullTuning, PluginConstraint, RandomDirectionConstraint, TrialConfig
from training.constraints import Constraint, Initial, build_constraint
from training.constraints.random_direction import real_twin
from training.constraints.references.projections import ReferenceValues
from training.constraints.references.store import ReferenceStore
from training.direction.extraction import Extraction
from training.loop import matching
from training.models.forms import Form
from training.storage.shared import Shared
from training.workbench.training_data import TrainingData
from training.workbench.warm_model import WarmModel


@dataclass(frozen=True)
class Penalties:
    """Penalties on moving away from one model's behaviour; every rank makes one and calls the same methods."""

    warm: WarmModel
    """The model, in the form that the trial tunes."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    extraction: Extraction
    """Its refusal direction."""
    data: TrainingData
    """What references are of."""
    references: ReferenceStore
    """Where they are kept."""
    matching: Path
    """Folder of the ratios of matched strengths."""
    shared: Shared | None
    """What other machines share it by; None where they see it."""
    device: torch.device
    """Of this rank."""
    tell: Callable[[str], None]
    """Told in a few words what takes its time."""

    def built(self, trial: TrialConfig, block: ConstraintBlock) -> Constraint | None:
        """The penalty that ``block`` describes; all ranks build it alike."""
        model = self.warm.model
        if isinstance(trial.tuning, FullTuning) and trial.zero_stage == 3 and _runs_initial_model(block):
            model = self.warm.copy(Form.of(trial), self.device)  # the other one is trained in its place
        prompts = self.extraction.prompts
        initial = Initial(model, self.tokenizer, prompts.harmful.extraction, prompts.harmless.extraction)
        precision = torch.float16 if trial.references.precision == "fp16" else torch.float32
        return build_constraint(block, self.extraction.direction, self.device, initial, precision)

    def compared_with(self, constraint: Constraint | None, trial: TrialConfig) -> ReferenceValues | None:
        """References of all samples: the share of safety samples changes which are used, not what they are."""
        samples, _ = self.data.of(trial)
        if constraint is not None:
            self.tell("reading or computing the references of the initial model")
        precision = trial.references.precision
        return self.references.of(constraint, self.warm.model, self.warm.fingerprint, samples, precision)

    def with_matched_strength(self, trial: TrialConfig) -> TrialConfig:
        """The trial with the strength that makes a random control as strong as what it is the control of."""
        block = trial.constraint
        if not isinstance(block, RandomDirectionConstraint) or block.strength == "alpha" or not block.active:
            return trial
        samples, task = self.data.of(trial)
        both = []
        for one in (real_twin(block), block):
            made = self.built(trial, one)
            compared = self.compared_with(made, trial)
            assert made is not None
            assert compared is not None
            both.append(matching.Compared(made, compared))
        fingerprints = self.warm.fingerprint, samples.fingerprint, self.extraction.direction.fingerprint
        path = matching.ratio_file(self.matching, trial, *fingerprints)
        model = self.warm.model
        return matching.matched(
            trial, path, lambda: matching.strength_ratio(model, trial, samples, task, *both), self.shared
        )


def _runs_initial_model(block: ConstraintBlock) -> bool:
    """Whether a constraint may run the initial model beside the one in training; of other packages nobody knows."""
    return isinstance(block, FeatureL2Constraint | PluginConstraint)
