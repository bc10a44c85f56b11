"""What the table of answers calls its columns, for those who write it and those who read it.

Imports nothing, so that whoever reads answers loads neither torch nor transformers.
"""

DIRECT = "direct"
"""Stands in ``attack`` where there is none: the prompt as it is."""
TEXTS = ("prompt", "answer", "reasoning")
"""Columns that hold text."""
VERDICT = "verdict."
"""Begins the columns of single judges; ``refused`` and ``complied`` hold what their verdicts come to."""
ASKS = "asks."
"""Begins the columns that say what each of these judges is asked: whether an answer ``refused`` or ``complied``."""
