"""What a sweep tells of how long things took: the figures that plans of later sweeps are made of (pure)."""

import statistics

from orchestrator.record.score_fields import REPORT
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trial_state import TrialState
from orchestrator.record.trials import Status
from sweeps.cost.cost import Figures, Frame

MEASURING = "evaluation/seconds"
"""Metric of how long a measurement took."""


def measured_figures(state: SweepState, model: str) -> Figures | None:
    """How long trials of ``model`` took; None before a training has finished and reported twice.

    A trial's time runs from when it was handed to Ray to its last word; what its steps did not take of it, it took
    besides. What the first trials took longer than later ones is what slots and model took to prepare, once a slot:
    the first trial of each slot, and the first searched one, which waits for the references of its constraint.
    """
    own = [trial for trial in state.listed() if trial.model == model and not trial.reused]
    finished = [trial for trial in own if trial.status is Status.FINISHED]
    steps = sum(trial.paced_steps for trial in finished)
    if not steps:
        return None
    per_step = sum(trial.paced_seconds for trial in finished) / steps
    slots = state.slots_of(model)  # that prepared this model
    beside = [trial.seconds - trial.trained_steps * per_step - _seconds_of_scaled(trial) for trial in finished]
    searched = next((number for number, trial in enumerate(finished) if trial.started["kind"] == "trial"), 0)
    first = {*range(min(slots, len(finished))), searched}
    later = [seconds for number, seconds in enumerate(beside) if number not in first]
    # Where all were first ones, the one that waited least is nearest to what a later one takes.
    usual = max(0.0, statistics.mean(later) if later else min(beside))
    once = sum(max(0.0, beside[number] - usual) for number in first) / slots
    pause = statistics.median(state.pauses) if state.pauses else 0.0
    ends = [trial.ended.get("metrics", {}) for trial in finished if trial.ended is not None]
    measuring = [metrics[MEASURING] for metrics in ends if MEASURING in metrics]
    return Figures(per_step, usual + pause, once, statistics.mean(measuring) if measuring else 0.0)


def _seconds_of_scaled(trial: TrialState) -> float:
    """What measuring scaled models in full took; what forward passes took is little and stays with the trial."""
    return float(sum(event.get(f"{REPORT}metrics", {}).get(MEASURING, 0.0) for event in trial.scaled.values()))


def measured_frame(state: SweepState) -> Frame | None:
    """What start and end of a sweep took; None of one that was cut off or gone on with, whose clock stood still.

    The end is the time until the last event, which MLflow's answers are: who knows better passes it on.
    """
    if len(state.sessions) != 1 or state.last_word is None or state.first_trial is None:
        return None
    (session,) = state.sessions
    return Frame(max(0.0, state.first_trial - session.began - state.seconds_built), state.latest - session.until)
