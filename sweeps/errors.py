"""Errors of a sweep's specification that a user can meet.

SpecError            a specification that cannot be run as it stands
├── ObjectiveError   an objective or a feasibility rule that no trial can answer
└── RuleError        a rule for choosing a trial that cannot be read
"""


class SpecError(Exception):
    """Base class; its text names the field, the value and the fix."""


class ObjectiveError(SpecError):
    """An objective or a feasibility rule that no trial can answer."""


class RuleError(SpecError):
    """A rule for choosing a trial that cannot be read, or asks for what was not measured."""
