"""The time of this process: seconds since the epoch that go on evenly, whatever is done to the machine's clock."""

import time

_OFFSET = time.time() - time.monotonic()


def now() -> float:
    """Seconds since the epoch by the clock of when this process began, and by what has passed since then.

    What is timed by it took as long as it took, and a budget in hours is not spent by a clock that is set.
    """
    return _OFFSET + time.monotonic()
