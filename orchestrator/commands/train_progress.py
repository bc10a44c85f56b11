"""What a person sees while one trial trains: a line that changes in a terminal, a line per report elsewhere."""

import time
from collections.abc import Mapping

from rich.text import Text

from orchestrator.driver.progress import duration
from orchestrator.driver.screen import Screen
from orchestrator.terminal import Terminal
from training.config import TrialConfig


class TrainProgress(Screen):
    """Follows the reports of a training; a context manager that owns the terminal while it is entered.

    Args:
        console: where to draw.
        trial: what is trained.
    """

    def __init__(self, console: Terminal, trial: TrialConfig) -> None:
        self._total = trial.total_steps
        self._began = self._since = time.time()
        self._line = ""
        self._phase = ""
        self.step = 0
        """Optimizer steps done."""
        self.utilisation_per_token: float | None = None
        """Seconds that one token would take at the device's peak; None where the peak is not known."""
        super().__init__(console, lambda: Text(self._line))

    def say(self, text: str) -> None:
        """A line that stays on screen."""
        self._console.say(text)

    def doing(self, what: str) -> None:
        """What takes its time before the training, and when it began."""
        self._line = ""
        self.say(f"{duration(time.time() - self._began):>7}  {what}")

    def phase(self, text: str, fraction: float) -> None:
        """What is going on before the training; ``fraction`` of it is done."""
        self._line = f"{text} {fraction:.0%}"
        if not self._live and text.partition(":")[0] != self._phase.partition(":")[0]:
            self.say(text)
        self._phase = text

    def begin(self) -> None:
        """The clock of the time left starts."""
        self._since = time.time()
        self.say(f"training {self._total} steps")

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show one report of the training."""
        now = time.time()
        # The pace of the latest steps: the first report also waited for references and the engine.
        left = (now - self._since) / max(1, step - self.step) * (self._total - step)
        self.step, self._since = step, now
        self._line = self.line(step, metrics, left)
        if not self._live or step == self._total:
            self.say(self._line)

    def line(self, step: int, metrics: Mapping[str, float], left: float) -> str:
        """One report in words.

        Args:
            step: optimizer steps done.
            metrics: of the report.
            left: seconds until the end.
        """
        loss, penalty = metrics["train/loss"], metrics["train/penalty"]
        rate = metrics["train/tokens_per_second"]
        parts = [
            f"step {step}/{self._total}",
            f"loss {loss:.4f}",
            f"penalty {penalty:.4f}",
            f"penalty/CE {penalty / max(loss, 1e-12):.3f}",
            f"{rate:,.0f} tokens/s",
        ]
        if self.utilisation_per_token is not None:
            parts.append(f"MFU {rate * self.utilisation_per_token:.1%}")
        return "  ".join([*parts, f"{duration(left)} left"])
