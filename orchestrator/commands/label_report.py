"""``procon label --report``: judges beside people, and the report in the sweep's folder with that."""

from pathlib import Path

from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.folder import JOURNAL
from orchestrator.record.history import recorded_manifest, recorded_spec
from orchestrator.record.journal import read_state
from orchestrator.record.lock import driver_lives
from orchestrator.report.console import labelled_table
from orchestrator.report.files import write_report
from orchestrator.report.shown import people_in_words
from orchestrator.terminal import Terminal


def print_labels(front: FrontDocument, console: Terminal) -> None:
    """Print what labels say of the judges of every model, or how many are missing."""
    told = {model: body.labels for model, body in front.models.items() if body.labels is not None}
    for model, found in told.items():
        table = labelled_table(front, model)
        if table is not None:
            console.print(table)
            continue
        console.say(
            f"{model}: {found.labels} answers are labelled; {found.missing} more are needed before the rates of its "
            f"judges are corrected ({found.needed})."
        )
        for line in people_in_words(found)[1:]:
            console.say(line)
    if not told:
        console.say("No answer is labelled yet: procon label DIR shows them one by one.")


def refresh_report(directory: Path, front: FrontDocument) -> bool:
    """Write the report in ``directory`` anew with ``front``; not while a driver is at work, whose report knows labels.

    Returns:
        whether it was written.
    """
    if driver_lives(directory):
        return False
    state = read_state(directory / JOURNAL)
    spec, manifest = recorded_spec(state, directory), recorded_manifest(state, directory)
    write_report(directory, spec.name, front, state.records(), {"versions": {}, "git": None, **manifest})
    return True
