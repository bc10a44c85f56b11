"""The base of every configuration model."""

from pydantic import BaseModel, ConfigDict

LONGEST_NAME = 100
"""Characters of a name that becomes part of names of files, of which a file system takes 255 bytes."""


class Config(BaseModel):
    """An immutable configuration block: unknown fields are refused, field docstrings are their help."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
