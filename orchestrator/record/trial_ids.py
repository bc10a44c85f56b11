"""Trials as people name them: the whole id, or its end as tables show it."""

import difflib
from collections.abc import Sequence

from orchestrator.errors import OutputError


def whole_id(trial: str, known: Sequence[str], missing: str) -> str:
    """The id that ``trial`` means: itself, or the only one that ends in ``-<trial>``, as tables shorten ids.

    Args:
        trial: as given on the command line.
        known: whole ids.
        missing: what is wrong with one that is not among them, such as "is not in runs/demo".

    Raises:
        OutputError: it is none of them, or could be several.
    """
    ending = [name for name in known if name == trial] or [name for name in known if name.endswith(f"-{trial}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise OutputError(f"--trial ({trial}) could be {_some(ending)}: give the whole id")
    near = difflib.get_close_matches(trial, known, n=1, cutoff=0.3)
    advice = f"did you mean {near[0]}?" if near else f"there are {_some(known)}"
    raise OutputError(f"--trial ({trial}) {missing}: {advice}")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8]) or "none"
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
