"""The kinds of events that a journal is made of."""

from typing import Any

Event = dict[str, Any]
"""``event`` is its kind, ``time`` when it was recorded, in seconds since the epoch; what else it holds depends on its
kind, and in journals of earlier versions some of it may be absent."""

KINDS = {
    "sweep_started": "the first driver began: spec, manifest",
    "sweep_resumed": "a later driver goes on: manifest, cut (bytes of a half-written line that were removed)",
    "sweep_ended": "a driver's last word: interrupted, reason",
    "spec_changed": "the specification is another from here on: spec, changes",
    "model_built": "an embedded model was built: model, seconds",
    "model_given_up": "a model cannot be prepared, so that none of its trials is run: model, error",
    "trial_started": "a trial was handed out: id, model, kind, label, params, trial, replicate_of, arm, "
    "reused (the folder of the sweep that measured it, where an earlier one did), "
    "and forked_from (trial and step, where it is to begin from another's checkpoint)",
    "trial_forked": "it begins there: id, of, step",
    "trial_reported": "training metrics: id, step, metrics",
    "trial_rung": "a measurement on the way: id, step, metrics, counts, errors",
    "trial_scaled": "its model scaled: id, step, scale, metrics, counts, errors without generation; and where it was "
    "measured in full report_metrics, select_metrics and so on",
    "trial_ended": "how a trial ended: id, status, metrics, counts, errors, select_metrics and so on, error, reason",
    "mlflow_run": "which MLflow run stands for a trial, or for a model's front: key, run_id",
    "slots_up": "how many slots hold their resources at the moment: up",
    "slots_lost": "how many slots are lost at the moment, dead or cut off: lost",
    "note": "what a slot had to say: text",
}
"""What is written, and what each kind holds besides ``event`` and ``time``."""
