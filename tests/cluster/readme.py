"""The commands of README's cluster section, typed on the laptop as they stand there."""

import re
import time
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
        (command,) = [command for command in self.commands if command.startswith(beginning)]
        self.typed.add(command)
        for word, other in changes.items():
            assert word in command, f"README no longer says {word}"
            command = command.replace(word, other)
        begin = time.monotonic()
        output = self.laptop.run(f"{self.environment}{command} 2>&1", seconds)
        return output, time.monotonic() - begin

    @property
    def environment(self) -> str:
        """What has to be typed first."""
        setting = [command for command in self.commands if command.startswith("source ")]
        self.typed.update(setting)
        return "".join(f"{command}; " for command in ["cd procon-sweeps", *setting])
