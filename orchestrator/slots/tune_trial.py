"""A Ray Tune trial: hands its configuration to a warm slot and forwards what the slot reports."""

from typing import Any

POLL_SECONDS = 20.0
"""How long one call waits for news; with hundreds of trials shorter ones would be most of what the broker does."""


def tune_trial(config: dict[str, Any]) -> None:
    """Run one trial; a featherweight, since the work happens in a slot.

    Args:
        config: ``broker`` and ``namespace`` of the broker actor, and ``job``, a
            :class:`~orchestrator.slots.messages.Job`.

    Reports ``updates``, every :class:`~orchestrator.slots.messages.Update` since the last report, with our own
    ``step``: each report is a round of Tune's loop, and of each number in a dictionary Tune keeps statistics, 2 KB a
    metric and trial. A failed trial ends by such a report too, since an exception would cost Tune the reused actor.
    Where this actor is killed, Tune starts the function again: the broker knows the job, and all its updates are
    reported once more. Where the broker is killed, Ray repeats the call once it is there again, and what it has
    forgotten nonetheless is submitted anew.
    """
    import ray
    from ray import tune

    broker = ray.get_actor(config["broker"], namespace=config["namespace"])
    job = config["job"]
    while ray.get(broker.submit.remote(job)):
        seen = 0
        while (updates := ray.get(broker.poll.remote(job.id, seen, POLL_SECONDS))) is not None:
            seen += len(updates)
            if updates:
                tune.report({"updates": updates, "step": updates[-1].step})
                if updates[-1].final:
                    return
