"""One arm of the search over one model's trials: its space, its sampler, and what it was told to try first."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna

from orchestrator.record.trials import TrialRecord
from orchestrator.search.forks import EVERY, Forks
from orchestrator.search.optuna_study import TrialStudy
from orchestrator.search.samplers import given_points
from orchestrator.search.warm_start import WarmStart
from sweeps.schema.arms import Arm
from sweeps.schema.forks import AFTER
from sweeps.schema.search import LEARNING
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig


class ArmSearch:
    """Draws the settings of one arm's trials, and learns from how those of the arm end.

    Args:
        spec: the sweep.
        arm: which of its arms.
        depth: decoder layers of the model.
        model: which of the sweep's models, counted from 0.
        number: searched trials that the arm may have in all.
        known: trials of the model that a journal knows, of all kinds and arms.
        earlier: what other sweeps teach.
    """

    def __init__(
        self,
        spec: SweepSpec,
        arm: Arm,
        depth: int,
        model: int,
        number: int,
        known: Sequence[TrialRecord],
        earlier: WarmStart,
    ) -> None:
        self.arm = arm
        self.space = spec.space(depth, arm)
        searched = [record for record in known if record.kind == "trial" and record.arm == arm]
        drawn = sum(record.kind != "reference" for record in known)  # others may have been measured by another sweep
        # Two studies of one model draw from two streams, and that of a sweep with one arm from the one it always had.
        self.study = TrialStudy(spec, self.space, model + len(spec.models) * spec.arms.index(arm), drawn)
        self._spec = spec
        self._searched = len(searched)
        self._number = number
        self._points = self._remaining_points(searched)
        self._settings = deque(() if searched else earlier.settings)
        for record in earlier.told:
            self.study.add(record, ours=False)
        self.outside = [record for record in searched if record.kept and not self.study.add(record)]
        """Trials that lie outside the present ranges, from which nothing is learnt."""

    @property
    def left(self) -> int:
        """Trials that are still to be searched."""
        left = max(0, self._number - self._searched)
        return left if self._points is None else min(left, len(self._points))

    @property
    def searched(self) -> int:
        """Trials so far, those under way included."""
        return self._searched

    @property
    def exhausted(self) -> bool:
        """Whether a grid has no further points though trials would be left."""
        return self._points is not None and not self._points and self._searched < self._number

    def try_first(self, settings: Iterable[dict[str, Any]]) -> None:
        """Try ``settings`` of other models' trials before the sampler's own proposals."""
        self._settings.extend(settings)

    def draw(
        self, forks: Forks, ended: Iterable[TrialRecord]
    ) -> tuple[optuna.trial.Trial, dict[str, Any], TrialConfig]:
        """The next trial, its searched values and its whole configuration.

        Args:
            forks: knows which settings would cost little.
            ended: what is known of the model.
        """
        first = self._settings if self._points is None else self._points
        settings = first.popleft() if first else self._fork(forks, ended)
        trial, params = self.study.ask(settings)
        self._searched += 1
        return trial, params, self._spec.trial_config(params, self.arm)

    def _fork(self, forks: Forks, ended: Iterable[TrialRecord]) -> dict[str, Any] | None:
        """Settings of a fork, where it is time for one."""
        config = self._spec.searcher
        begun = self._searched >= AFTER * config.startup_trials and self._searched % EVERY == 0
        if not begun or config.sampler not in LEARNING:
            return None
        return forks.settings(self.arm, self.space, ended, self.study.tried)

    def again(self, record: TrialRecord) -> None:
        """Expect the end of a searched trial that was cut off and runs again."""
        drawn = self.study.drawn(record)
        if drawn is not None:
            trial, _ = self.study.ask(self.space.decode(drawn))
            self.study.expect(record.id, trial)

    def _remaining_points(self, trials: Sequence[TrialRecord]) -> deque[Mapping[str, Any]] | None:
        """What is left of the points that a grid or a sequence fixes beforehand."""
        points = given_points(self._spec.searcher, self.space, self._number)
        if points is None:
            return None
        if self._spec.searcher.sampler == "qmc":
            return deque(points[len(trials) :])
        known = [self.study.drawn(record) for record in trials]
        return deque(point for point in points if self.space.encode(point) not in known)
