"""Trials of one model one after another, and what a warm slot keeps between them."""

import logging
import platform
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Self

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.config import DataConfig, DirectionConfig, EvaluationConfig, ModelConfig, TrialConfig
from training.config.measurement import TRAINED_SCALE
from training.constraints.references.store import ReferenceStore
from training.data.chat_settings import ChatSettings
from training.direction.drift import DriftReference
from training.direction.extraction import Extraction, load_or_extract
from training.direction.recommended import with_recommended_layers
from training.distributed import process, progress, ranks
from training.distributed.deepspeed_config import stage_sentence
from training.errors import DirectionError, TrainingError
from training.evaluation.generators import refuse_tuning
from training.evaluation.measure import Measurement
from training.evaluation.overlap import direction_overlaps, refuse
from training.evaluation.sets import EvaluationSets
from training.loop.checkpointing import Checkpointing
from training.loop.claim import Claim
from training.loop.export import export, form_of
from training.loop.forks import ALONE, Forking
from training.loop.train import Report, TrainingSet
from training.loop.tuning import tuned
from training.models.adapters import left_out
from training.models.forms import Form
from training.models.loading import load_tokenizer
from training.models.located import model_path
from training.organism.once import Report as BuildReport
from training.storage.bucket import Bucket
from training.storage.checkpoints import StoredCheckpoints
from training.storage.shared import Shared
from training.workbench.measuring import Measuring
from training.workbench.packing import PackingDecision
from training.workbench.penalties import Penalties
from training.workbench.scaled import Scaling, measure_line
from training.workbench.training_data import TrainingData
from training.workbench.warm_model import WarmModel

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
                below it. Where it is the local folder of a sweep in a bucket, other machines share the first two.
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
        self.any_size = False
        """See :class:`training.loop.checkpointing.Checkpointing`."""
        self.leaves: Callable[[], bool] | None = None
        """See :class:`training.loop.checkpointing.Checkpointing`."""
        self._chat = chat or ChatSettings()
        self._shared = Shared.of(directory)
        if self._shared is not None:
            self._shared.bucket.tell = lambda sentence: self.notify(sentence) if sentence is not None else None
        # One file per machine: SQLite's write-ahead log is not for several machines on one network file system.
        verdicts = directory / "verdicts" / f"{platform.node()}.sqlite"
        self._measuring = Measuring(evaluation, verdicts, self._chat.date, directory / "served", self._export)
        self._form = Form.of(like or TrialConfig())
        self._warm = WarmModel(model_path, attention)
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

    @property
    def model(self) -> PreTrainedModel:
        """The untouched model, in the form of the latest trial."""
        return self._warm.model

    @property
    def model_fingerprint(self) -> str:
        """Changes with the model's weights, their precision included."""
        return self._warm.fingerprint

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
        self._warm.use(self._form, self.device)
        say(f"extracting the refusal direction of {self.name}")
        extraction = self._load_or_extract_direction(say)
        self.direction, self.causal = extraction.direction, extraction.causal
        self.sets = EvaluationSets.load(self.data, self.evaluation, self.tokenizer)
        overlaps = direction_overlaps(extraction.prompts.used, self.sets.prompts)
        if self.evaluation.strict:
            refuse(overlaps)
        self.drift_reference = DriftReference.of_initial_model(
            self.model,
            self.tokenizer,
            self.direction,
            extraction.prompts.harmful.extraction,
            extraction.prompts.harmless.extraction,
        )
        self._measuring.prepare(self.evaluation, self.tokenizer, self.sets, self.drift_reference)
        self._packing = PackingDecision(self._warm, self.name, self._warn)
        self._data = TrainingData(self.data, self.tokenizer, self._tell)
        self._penalties = Penalties(
            self._warm,
            self.tokenizer,
            extraction,
            self._data,
            ReferenceStore(self.directory / "references", self._shared),
            self.directory / "matching",
            self._shared,
            self.device,
            self._tell,
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
        scaling: Scaling | None = None,
        save_scale: float = TRAINED_SCALE,
        forking: Forking = ALONE,
        at_most: int | None = None,
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
            scaling: which models between the untouched and the trained one are measured too; None measures none.
            save_scale: which of them is written to ``save``.
            forking: where it begins, and what is kept for others; only with checkpoints of its own.
            at_most: samples per forward pass and worker that memory suffices for; None where the trial alone decides.

        Returns:
            The measurement, made by rank 0 and the same on every rank.

        Raises:
            TrainingError: the trial does not fit the model or diverged.
            MemoryRanOut: in training, on this rank; from its checkpoint it may go on with fewer samples at once.
            TrialStopped: a report asked for it; nothing is measured then.
            TrialMoved: :attr:`leaves` asked for it; its checkpoint is written.
        """
        if trial is not None:
            refuse_tuning(self.evaluation.generator, trial)
        self.prepare(self.notify)
        if trial is None:
            self._warm.use(self._form, self.device)
            self._check_generator()
            self._tell("measuring the untouched model")
            return self._measure(self.model)
        self._warm.use(Form.of(trial), self.device)
        self._check_generator()
        sentence = stage_sentence(trial)
        if sentence is not None:
            self._warn(sentence)
        samples, task = self._data.of(trial)
        trial = self._packing.decided(trial, samples)
        trial = self._penalties.with_matched_strength(with_recommended_layers(trial, self.causal, self.name))
        constraint = self._penalties.built(trial, trial.constraint)
        training_set = TrainingSet(samples, task, self._penalties.compared_with(constraint, trial))
        checkpointing = None
        if checkpoint is not None:
            checkpointing = Checkpointing(
                checkpoint,
                trial.checkpoint_every,
                model=self.model_fingerprint,
                say=self._warn,
                claim=claim,
                any_size=self.any_size,
                leaves=self.leaves,
                store=self._store(checkpoint, claim),
                forking=forking,
            )
        measured = self._measuring.rungs(rungs)
        self._tell("setting up the engine for the first steps")
        tuning = tuned(self.model, trial, training_set, constraint, report, checkpointing, measured, at_most)
        with tuning as (trained, line):
            unreached = left_out(trained) if form_of(trained) == "adapter" else None
            if unreached is not None and getattr(trial.tuning, "targets", None) == "all-linear":
                self._warn(f"{self.name}: {unreached}, which tuning.targets (all-linear) leaves as they are")
            if save is not None:
                with line.at(save_scale) as chosen:
                    self._export(chosen, save)
            found = self._measure(trained)
            if scaling is None:
                return found
            return replace(found, scaled=measure_line(line, scaling, found.select, self._measuring, self._tell))

    def _store(self, checkpoint: Path, claim: Claim | None) -> StoredCheckpoints | None:
        """Where checkpoints are kept besides the local folder; None where that is one that all machines see."""
        if self._shared is None or claim is None:
            return None
        prefix = checkpoint.relative_to(self.directory).as_posix()
        return StoredCheckpoints(Bucket(self._shared.bucket.address), prefix, claim.run, claim.attempt)

    def _export(self, trained: nn.Module, directory: Path) -> None:
        """Write what was trained; all ranks must call it."""
        published = load_tokenizer(self.model_path)  # not bound to this sweep's arguments and date
        export(trained, published, directory, form=form_of(trained))

    def _check_generator(self) -> None:
        if self._measuring.generator is not None:
            self._tell("comparing the server's model with ours")
            self._measuring.check_generator(self.model, self.model_fingerprint)

    def _tell(self, what: str) -> None:
        progress.advance()
        if ranks.rank() == 0:
            self.notify(what)

    def _warn(self, sentence: str, say: Callable[[str], None] = log.warning) -> None:
        """Add a warning, once; ``say`` is told it too."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            say(f"WARNING: {sentence}")

    def _load_or_extract_direction(self, say: Callable[[str], None]) -> Extraction:
        """The direction of this model; slots that start together extract it once.

        Raises:
            DirectionError: it cannot be extracted, or fails its causal check where ``direction.on_failure`` refuses.
        """
        folder = self.directory / "directions" / self.name

        def extraction_here() -> Extraction:
            return load_or_extract(
                self.model,
                self.tokenizer,
                self.data,
                self.direction_config,
                folder,
                model_fingerprint=self.model_fingerprint,
                say=say,
            )

        shared = self._shared
        if shared is not None:
            ranks.from_rank_zero(lambda: shared.fetch(folder))
        extraction = extraction_here()
        if shared is not None and not ranks.from_rank_zero(lambda: shared.publish(folder)):
            extraction = extraction_here()  # another machine was first
        if extraction.causal is not None and not extraction.causal.passes:
            fault = f"{self.name}: {extraction.causal.sentence}"
            if self.direction_config.on_failure == "refuse":
                raise DirectionError(f"{fault}; direction.on_failure=warn would go on nonetheless")
            self._warn(f"{fault}; a constraint on it may hold nothing that matters", say)
        return extraction

    def _measure(self, model: nn.Module) -> Measurement:
        return self._measuring.of(model)
