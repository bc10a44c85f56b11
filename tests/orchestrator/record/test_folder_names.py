"""What no folder can be called is refused in a sentence by every verb that takes one."""

import pytest
from command_line import procon

IMPOSSIBLE = "a" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("resume", IMPOSSIBLE),
        ("front", IMPOSSIBLE),
        ("status", IMPOSSIBLE),
        ("run", "demo", "--out", IMPOSSIBLE),
        ("plan", IMPOSSIBLE),
    ],
    ids=lambda words: words[0],
)
def test_a_name_that_is_too_long(words: tuple[str, ...]) -> None:
    done = procon(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("procon: "), done.stderr
    assert IMPOSSIBLE[:20] in done.stderr
