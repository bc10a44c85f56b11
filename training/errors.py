"""Errors of training that a user can meet.

TrainingError
├── DataError        a source that is missing, empty, or lacks a column
├── ModelError       a model that cannot be loaded or does not fit what is asked of it
├── DirectionError   a refusal direction that cannot be extracted or belongs to another model
├── GeneratorError   a server that cannot be used to answer
├── JudgeError       a judge that cannot be loaded, reached or asked what it is asked
├── MetricError      a metric of another package that cannot be loaded or measured
├── OrganismError    the embedded model failed its quality gate
├── CheckpointError  a checkpoint that does not fit or cannot be read
├── StorageError     a bucket that cannot be opened, reached or written
└── DivergedError    a loss that is not finite
"""


class TrainingError(Exception):
    """Base class; its text says what was wrong, where, and what to do."""


class DataError(TrainingError):
    """A source is missing, empty, or lacks a column."""


class ModelError(TrainingError):
    """A model cannot be loaded or does not fit what is asked of it."""


class DirectionError(TrainingError):
    """A refusal direction cannot be extracted or belongs to another model."""


class GeneratorError(TrainingError):
    """A server that is to answer cannot be reached, does not serve the model, or serves another."""


class JudgeError(TrainingError):
    """A judge cannot be loaded, reached or asked what it is asked."""


class MetricError(TrainingError):
    """A metric of another package cannot be loaded or measured."""


class OrganismError(TrainingError):
    """The embedded model failed its quality gate."""


class CheckpointError(TrainingError):
    """A checkpoint belongs to another training or cannot be read."""


class StorageError(TrainingError):
    """A bucket cannot be opened, reached or written."""


class DivergedError(TrainingError):
    """The loss stopped being finite."""
