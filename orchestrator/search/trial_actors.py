"""Ray Tune's idle trial actors, kept for the trials to come."""

from typing import Any


def keep_actors(controller: Any, trial: Any, count: int) -> None:
    """Let Ray Tune keep up to ``count`` idle trial actors until the search ends.

    With ``reuse_actors`` Tune keeps no more idle actors than it has trials waiting for one, and a single one beyond
    that. Where two trials end at about the same time, the second's actor is therefore ended, though the next proposal
    needs it: a new process has to start, and while it does, Tune gives its trial the other's actor and throws the new
    one away half started, again and again while trials are shorter than such a start.

    Args:
        controller: Tune's, as it gives itself to a scheduler. That only one actor is kept is no setting of Tune's, so
            its cache of actors is told by the one attribute that holds it (Ray 2.60).
        trial: any trial; all of a sweep ask for the same resources.
        count: trials that run at once.
    """
    controller._tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=count)
