"""The commands of README's cluster section, typed on the laptop as they stand there."""

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hosts import Host

SECTION = "## On a cluster\n```\n"


def commands(readme: Path) -> list[str]:
    """The lines of the section's one block, without their remarks."""
    text = readme.read_text(encoding="utf-8")
    block = text[text.index(SECTION) + len(SECTION) :].split("```", 1)[0]
    return [re.sub(r"\s{2,}# .*", "", line) for line in block.splitlines()]


@dataclass
class Shell:
    """A terminal on the laptop, in the checkout, in which what sets its environment has been typed.

    Args:
        laptop: where it is.
        commands: of the section.
    """

    laptop: Host
    commands: list[str]
    typed: set[str] = field(default_factory=set)
    """Commands of the section that have been typed."""

    def type(self, beginning: str, seconds: float, **changes: str) -> tuple[str, float]:
        """What the one command that begins so prints, and the seconds it takes; it must succeed.

        Args:
            beginning: of the command.
            seconds: that it may take.
            changes: words in it that are typed otherwise.
        """
        begin = time.monotonic()
        output = self.laptop.run(self._line(beginning, changes), seconds)
        return output, time.monotonic() - begin

    def start(self, beginning: str) -> subprocess.Popen[str]:
        """Type the one command that begins so, and look away."""
        return self.laptop.start(self._line(beginning, {}))

    def _line(self, beginning: str, changes: Mapping[str, str]) -> str:
        (command,) = [command for command in self.commands if command.startswith(beginning)]
        setting = [command for command in self.commands if command.startswith("source ")]
        self.typed.update([command, *setting])
        for word, other in changes.items():
            assert word in command, f"README no longer says {word}"
            command = command.replace(word, other)
        return "; ".join(["cd procon-sweeps", *setting, command])
