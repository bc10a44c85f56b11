"""Faults are brought about on the sweeps of the other tests of endings."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import Row, write

sys.path.insert(0, str(Path(__file__).parents[1] / "driver"))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str, str, str, float], None]:
    """Takes what a test saw: fault, what the user sees, what is kept, seconds lost; kept with ``--write-faults``."""

    def take(fault: str, sees: str, kept: str, lost: float) -> None:
        if request.config.getoption("--write-faults"):
            write(Row(fault, sees, kept, round(lost, 1), request.node.originalname))

    return take
