"""What checkpoints are called; imports nothing, so that whoever only looks for them can ask."""

MANIFEST_FILE = "checkpoint.json"
"""In a checkpoint: of what it is, and which files belong to it."""


def step_name(step: int) -> str:
    """The checkpoint after ``step``; sorted names are in order."""
    return f"step-{step:08d}"
