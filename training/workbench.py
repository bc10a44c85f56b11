"""What a warm slot keeps between trials: the model, the tokenised data, the direction, the references."""

import gc
import logging
import platform
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Self

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.config import Constraint as ConstraintBlock
from training.config import (
    DataConfig,
    DirectionConfig,
    EvaluationConfig,
    FeatureL2Constraint,
    FullTuning,
    ModelConfig,
    PluginConstraint,
    RandomDirectionConstraint,
    Source,
    TrialConfig,
)
from training.constraints import Constraint, Initial, build_constraint
from training.constraints.random_direction import real_twin
from training.constraints.references.projections import ReferenceValues
from training.constraints.references.store import ReferenceStore
from training.data.chat_settings import ChatSettings
from training.data.encoding import encode_source
from training.data.malicious import FIELD, chosen_rows, training_side
from training.data.samples import Samples
from training.data.sources import Split
from training.direction.drift import DriftReference
from training.direction.extraction import Extraction, load_or_extract
from training.direction.recommended import with_recommended_layers
from training.distributed import process, progress, ranks
from training.distributed.deepspeed_config import stage_sentence
from training.distributed.sharding import computed_together
from training.errors import DataError, DirectionError, ModelError, TrainingError
from training.evaluation.generators import build_generator, refuse_tuning
from training.evaluation.judges import build_judges
from training.evaluation.lm_eval import lm_eval_errors, lm_eval_metrics
from training.evaluation.measure import Measurement, measure, measure_without_generation
from training.evaluation.overlap import direction_overlaps, refuse
from training.evaluation.plugin_metrics import load_metrics
from training.evaluation.scores import Scores
from training.evaluation.sets import EvaluationSets
from training.loop import matching
from training.loop.checkpoint import Checkpointing
from training.loop.claim import Claim
from training.loop.export import export, form_of
from training.loop.train import Report, Rungs, StepReport, TrainingSet
from training.loop.tuning import tuned
from training.models.adapters import left_out
from training.models.attention import use_attention
from training.models.forms import Form, fingerprint_of_all_ranks, load_as
from training.models.loading import load_tokenizer
from training.models.located import model_path
from training.models.packing_probe import packing_fault
from training.organism.once import Report as BuildReport

log = logging.getLogger(__name__)


class Workbench:
    """Runs trials of one model one after another; the base weights are loaded once and never change.

    Every rank of a slot makes one and calls the same methods with the same arguments.
    """

    def __init__(
        self,
        model_path: str | Path,
        data: DataConfig,
        direction: DirectionConfig,
        evaluation: EvaluationConfig,
        directory: Path,
        *,
        name: str | None = None,
        like: TrialConfig | None = None,
        chat: ChatSettings | None = None,
        attention: str | None = None,
    ) -> None:
        """Remember what to prepare; nothing is loaded yet.

        Args:
            model_path: a Hub id or a local directory.
            data: sources with absolute paths, embedded sets or Hub ids.
            direction: how the refusal direction is extracted.
            evaluation: how trials are measured.
            directory: the sweep's folder; ``directions/<name>``, ``references`` and ``verdicts``, what judges said, go
                below it.
            name: the model's name; the last part of its path where there is none.
            like: the untouched model is loaded and measured in the form that this trial tunes: its precision, in 4 bits
                for QLoRA, in shards for ZeRO 3. A trial that needs another loads the checkpoint again. None takes the
                default trial's.
            chat: what the model's chat template is rendered with, in training, measuring and direction alike; none
                renders it as published, with today's date where it prints one.
            attention: what computes attention, see :func:`training.models.attention.use_attention`.
        """
        self.model_path = model_path
        self.data = data
        self.direction_config = direction
        self.evaluation = evaluation
        self.directory = directory
        self.warnings: list[str] = []
        """What whoever runs the trials should be told, in sentences; filled by :meth:`prepare` and by :meth:`run`."""
        self.name = name or Path(model_path).name
        self.notify: Callable[[str], None] = log.info
        """Told in a few words what takes its time before the first step; on rank 0 only."""
        self._samples: dict[tuple[int, int], tuple[Samples, int]] = {}
        self._packing_faults: dict[object, str | None] = {}
        self._references = ReferenceStore(directory / "references")
        # One file per machine: SQLite's write-ahead log is not for several machines on one network file system.
        self._chat = chat or ChatSettings()
        verdicts = directory / "verdicts" / f"{platform.node()}.sqlite"
        self._judges = build_judges(evaluation.judges, verdicts, self._chat.date)
        self._metrics = load_metrics(evaluation.metrics)
        self._generator = build_generator(evaluation.generator, directory / "served", self._export)
        self._form = Form.of(like or TrialConfig())
        self._attention = attention
        self._loaded: Form | None = None
        self._prepared = False
        self.fault: TrainingError | None = None
        """Why nothing can be run here: :meth:`prepare` raised it, and raises it again instead of trying again."""

    @classmethod
    def of(
        cls,
        model: ModelConfig,
        data: DataConfig,
        direction: DirectionConfig,
        evaluation: EvaluationConfig,
        directory: Path,
        *,
        like: TrialConfig | None = None,
        day: date | None,
        report: BuildReport | None = None,
    ) -> Self:
        """The workbench of a model as a specification names it; an embedded one is built first where it is nowhere yet.

        Args:
            model: its weights, and how it is spoken to.
            data: as in the constructor, which says the same of the next three.
            direction: likewise.
            evaluation: likewise.
            directory: likewise.
            like: likewise.
            day: that the prompts are of; None leaves a chat template that prints the date to the clock.
            report: told the stage of a build and the fraction done.

        Raises:
            TrainingError: there is no such embedded model, or it cannot be built.
        """
        path, chat = model_path(model, data, report), ChatSettings.of(model, day)
        return cls(
            path,
            data,
            direction,
            evaluation,
            directory,
            name=model.name,
            like=like,
            chat=chat,
            attention=model.attn_implementation,
        )

    def prepare(self, notify: Callable[[str], None] = log.info) -> None:
        """Load the model and what all trials of the slot share; :meth:`run` does it where it was not done before.

        Args:
            notify: told in a sentence what is being done; rank 0 only.

        Raises:
            TrainingError: a model, a source or the direction is not usable.
        """
        if self.fault is not None:
            raise self.fault
        if self._prepared:
            return
        try:
            self._prepare(notify)
        except TrainingError as error:
            self.fault = error
            raise
        self._prepared = True  # last: what raises on the way leaves nothing half done to a trial

    def _prepare(self, notify: Callable[[str], None]) -> None:
        say = notify if ranks.rank() == 0 else log.debug
        self.device = process.start_process()
        say(f"loading {self.name} from {self.model_path}")
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(self.model_path, self._chat)
        self._use(self._form)
        say(f"extracting the refusal direction of {self.name}")
        extraction = self._load_or_extract_direction(say)
        self.direction, self.causal = extraction.direction, extraction.causal
        self.harmful, self.harmless = extraction.prompts.harmful.extraction, extraction.prompts.harmless.extraction
        self.sets = EvaluationSets.load(self.data, self.evaluation, self.tokenizer)
        overlaps = direction_overlaps(extraction.prompts.used, self.sets.prompts)
        if self.evaluation.strict:
            refuse(overlaps)
        self.drift_reference = DriftReference.of_initial_model(
            self.model, self.tokenizer, self.direction, self.harmful, self.harmless
        )
        for sentence in (*self.sets.warnings, *overlaps):
            self._warn(sentence, say)

    def run(
        self,
        trial: TrialConfig | None,
        report: Report,
        save: Path | None = None,
        checkpoint: Path | None = None,
        rungs: Collection[int] = (),
        claim: Claim | None = None,
    ) -> Measurement:
        """Fine-tune and measure; the base model is afterwards what it was.

        Args:
            trial: how; None measures the untouched base model.
            report: see :data:`training.loop.train.Report`.
            save: directory that the trained adapter, or under full tuning the model, is written to.
            checkpoint: directory of this trial's checkpoints, which it goes on from where there are any: after the
                last step they hold the trained model, so that a measurement that was cut short repeats no training.
            rungs: optimizer steps after which the trial is measured without generation and reported.
            claim: by which the checkpoints are this worker's; None where no other can want them.

        Returns:
            The measurement, made by rank 0 and the same on every rank.

        Raises:
            TrainingError: the trial does not fit the model or diverged.
            TrialStopped: a report asked for it; nothing is measured then.
        """
        if trial is not None:
            refuse_tuning(self.evaluation.generator, trial)
        self.prepare(self.notify)
        if trial is None:
            self._use(self._form)
            self._check_generator()
            self._tell("measuring the untouched model")
            return self._measure(self.model)
        self._use(Form.of(trial))
        self._check_generator()
        sentence = stage_sentence(trial)
        if sentence is not None:
            self._warn(sentence)
        trial = self._with_decided_packing(trial)
        trial = self._with_matched_strength(with_recommended_layers(trial, self.causal, self.name))
        samples, task = self._training_samples(trial)
        constraint = self._constraint(trial, trial.constraint)
        training_set = TrainingSet(samples, task, self._compared_with(constraint, trial))
        checkpointing = None
        if checkpoint is not None:
            checkpointing = Checkpointing(
                checkpoint, trial.checkpoint_every, model=self.model_fingerprint, say=self._warn, claim=claim
            )
        self._tell("setting up the engine for the first steps")
        with tuned(self.model, trial, training_set, constraint, report, checkpointing, self._rungs(rungs)) as trained:
            unreached = left_out(trained) if form_of(trained) == "adapter" else None
            if unreached is not None and getattr(trial.tuning, "targets", None) == "all-linear":
                self._warn(f"{self.name}: {unreached}, which tuning.targets (all-linear) leaves as they are")
            if save is not None:
                self._export(trained, save)
            return self._measure(trained)

    def _export(self, trained: nn.Module, directory: Path) -> None:
        """Write what was trained; all ranks must call it."""
        published = load_tokenizer(self.model_path)  # not bound to this sweep's arguments and date
        export(trained, published, directory, form=form_of(trained))

    def _check_generator(self) -> None:
        """Refuse, before anything is trained, a server that would answer with another model than the one loaded."""
        if self._generator is not None:
            self._tell("comparing the server's model with ours")
            prompts = [ids for one in self.sets.all for ids in one.token_ids]
            self._generator.check(self.model, self.tokenizer, prompts, self.sets.max_new_tokens, self.model_fingerprint)

    def _tell(self, what: str) -> None:
        progress.advance()
        if ranks.rank() == 0:
            self.notify(what)

    def _warn(self, sentence: str, say: Callable[[str], None] = log.warning) -> None:
        """Add a warning, once; ``say`` is told it too."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            say(f"WARNING: {sentence}")

    def _use(self, form: Form) -> None:
        if form == self._loaded:
            return
        if self._loaded is not None:
            self._loaded = None
            del self.model  # its memory is free before the next is loaded
            gc.collect()  # an engine and its module refer to each other
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        self.model: PreTrainedModel = self._load(form)
        self.model_fingerprint = fingerprint_of_all_ranks(self.model, self.model_path)
        self._loaded = form

    def _load(self, form: Form) -> PreTrainedModel:
        model = load_as(form, self.model_path, self.device)
        use_attention(model, self._attention)
        progress.follow(model)
        return model

    def _load_or_extract_direction(self, say: Callable[[str], None]) -> Extraction:
        """The direction of this model; slots that start together extract it once.

        Raises:
            DirectionError: it cannot be extracted, or fails its causal check where ``direction.on_failure`` refuses.
        """
        extraction = load_or_extract(
            self.model,
            self.tokenizer,
            self.data,
            self.direction_config,
            self.directory / "directions" / self.name,
            model_fingerprint=self.model_fingerprint,
            say=say,
        )
        if extraction.causal is not None and not extraction.causal.passes:
            fault = f"{self.name}: {extraction.causal.sentence}"
            if self.direction_config.on_failure == "refuse":
                raise DirectionError(f"{fault}; direction.on_failure=warn would go on nonetheless")
            self._warn(f"{fault}; a constraint on it may hold nothing that matters", say)
        return extraction

    def _training_samples(self, trial: TrialConfig) -> tuple[Samples, int]:
        """Task samples, malicious ones among them, followed by safety samples, and how many the former are."""
        key = trial.max_length, trial.malicious_count
        if key not in self._samples:
            self._tell("tokenising the training data")
            task, safety = (
                self._encoded(source, f"data.{field}", trial.max_length)
                for field, source in (("task", self.data.task), ("safety", self.data.safety))
            )
            if trial.malicious_count:
                task = task + self._malicious(trial)
            self._samples[key] = task + safety, len(task)
        return self._samples[key]

    def _malicious(self, trial: TrialConfig) -> Samples:
        if self.data.malicious is None:
            raise DataError(f"malicious_count ({trial.malicious_count}) needs data.malicious, which is not given")
        source, split = training_side(self.data.malicious)
        encoded = self._encoded(source, FIELD, trial.max_length, split)
        return encoded.only(chosen_rows(len(encoded), trial.malicious_count, source.split_seed))

    def _encoded(self, source: Source, field: str, max_length: int, split: Split = "train") -> Samples:
        return encode_source(source, split, field=field, tokenizer=self.tokenizer, max_length=max_length).samples

    def _constraint(self, trial: TrialConfig, block: ConstraintBlock) -> Constraint | None:
        """The penalty that ``block`` describes; all ranks build it alike."""
        model = self.model
        if isinstance(trial.tuning, FullTuning) and trial.zero_stage == 3 and _runs_initial_model(block):
            model = self._load(Form.of(trial))  # the other one is trained in its place
        initial = Initial(model, self.tokenizer, self.harmful, self.harmless)
        precision = torch.float16 if trial.references.precision == "fp16" else torch.float32
        return build_constraint(block, self.direction, self.device, initial, precision)

    def _compared_with(self, constraint: Constraint | None, trial: TrialConfig) -> ReferenceValues | None:
        """References of all samples: the share of safety samples changes which are used, not what they are."""
        samples, _ = self._training_samples(trial)
        if constraint is not None:
            self._tell("reading or computing the references of the initial model")
        precision = trial.references.precision
        return self._references.of(constraint, self.model, self.model_fingerprint, samples, precision)

    def _with_matched_strength(self, trial: TrialConfig) -> TrialConfig:
        """The trial with the strength that makes a random control as strong as what it is the control of."""
        block = trial.constraint
        if not isinstance(block, RandomDirectionConstraint) or block.strength == "alpha" or not block.active:
            return trial
        samples, task = self._training_samples(trial)
        both = []
        for one in (real_twin(block), block):
            made = self._constraint(trial, one)
            compared = self._compared_with(made, trial)
            assert made is not None
            assert compared is not None
            both.append(matching.Compared(made, compared))
        path = matching.ratio_file(
            self.directory / "matching", trial, self.model_fingerprint, samples.fingerprint, self.direction.fingerprint
        )
        return matching.matched(trial, path, lambda: matching.strength_ratio(self.model, trial, samples, task, *both))

    def _with_decided_packing(self, trial: TrialConfig) -> TrialConfig:
        """The trial as it will be trained: packed only where that changes nothing; all ranks decide alike.

        Raises:
            ModelError: ``packing: true`` of a model that does not keep the samples of a row apart.
        """
        if not trial.packing:
            return trial
        samples, _ = self._training_samples(trial)
        probed = self._loaded, trial.max_length
        if probed not in self._packing_faults:
            self._packing_faults[probed] = computed_together(self.model, lambda: packing_fault(self.model, samples))
        fault = self._packing_faults[probed]
        if fault is not None and trial.packing is True:
            raise ModelError(f"trial.packing (true) cannot be had for {self.name}: {fault}; write auto or false")
        if fault is not None:
            self._warn(f"{self.name} is trained without packing (trial.packing is auto): {fault}")
        return trial.model_copy(update={"packing": fault is None})

    def _rungs(self, steps: Collection[int]) -> Rungs:
        """Measurement at the rungs, by all ranks."""

        def measure_rung(model: nn.Module, step: int) -> StepReport:
            found = measure_without_generation(model, self.tokenizer, self.sets, self.drift_reference.of)
            return StepReport(step, found, rung=True)

        return Rungs(frozenset(steps), measure_rung)

    def _measure(self, model: nn.Module) -> Measurement:
        """Everything that is measured of ``model``, by all ranks; the same on each, but for the seconds it took."""
        begin = time.perf_counter()
        found = measure(
            model, self.tokenizer, self.sets, self.drift_reference.of, self._judges, self._metrics, self._generator
        )
        if self.evaluation.lm_eval is not None:
            scores = lm_eval_metrics(model, self.tokenizer, self.evaluation.lm_eval)
            found = found.with_unsplit(Scores(scores, errors=lm_eval_errors(scores)))
        return replace(found, seconds=time.perf_counter() - begin)


def _runs_initial_model(block: ConstraintBlock) -> bool:
    """Whether a constraint may run the initial model beside the one in training; of other packages nobody knows."""
    return isinstance(block, FeatureL2Constraint | PluginConstraint)


__all__ = ["Measurement", "StepReport", "Workbench"]
