"""What a user meets when something dies: one row a fault, written by the test that brings it about."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

MEASURED = Path(__file__).parent / "measured.json"


@dataclass(frozen=True)
class Row:
    """One fault, as a test saw it."""

    fault: str
    sees: str
    kept: str
    lost: float
    """Seconds from the fault until the sweep was at work again, or until it had said what to type."""
    test: str
    """Which test brought it about."""


def write(row: Row) -> None:
    """Put ``row`` in place of an earlier one of the same fault."""
    rows = {one.fault: one for one in measured()} | {row.fault: row}
    MEASURED.write_text(json.dumps([asdict(rows[fault]) for fault in sorted(rows)], indent=1) + "\n")


def measured() -> list[Row]:
    """The rows of the last runs."""
    return [Row(**row) for row in json.loads(MEASURED.read_text())] if MEASURED.exists() else []
