"""Errors of the orchestrator that a user can meet, and everything the command line shows without a traceback.

OrchestratorError
├── ClusterError     Ray cannot be reached, or its resources can never fit a worker
├── ComparisonError  sweeps that have nothing in common to be compared on
├── OutputError      the output folder is in use, damaged, or lacks what is asked of it
├── SlotError        a warm slot failed for good, so that no trial can run
└── TrackingError    the MLflow store cannot be reached or used
"""


class OrchestratorError(Exception):
    """Base class; its text says what was wrong, where, and what to do."""


class ClusterError(OrchestratorError):
    """Ray cannot be reached, or its resources can never fit a worker."""


class OutputError(OrchestratorError):
    """The output folder is in use, damaged, or lacks what is asked of it."""


class SlotError(OrchestratorError):
    """A warm slot failed for good, so that no trial can run."""


class TrackingError(OrchestratorError):
    """The MLflow store cannot be reached or used."""


class ComparisonError(OrchestratorError):
    """Sweeps that have nothing in common to be compared on."""
