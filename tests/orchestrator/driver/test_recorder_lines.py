"""What a trial leaves in the journal, from the updates of its slot."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

from searches import ACCURACY, searcher, sweep

from orchestrator.driver.recorder import Recorder
from orchestrator.record.journal import Journal, read_journal, records
from orchestrator.slots.messages import Update
from training.evaluation.scores import Scores

RUNG = Scores({"safety/refusal_log_odds": -1.0}, {"safety/refusal_unlikely": (3, 4)}, {"safety/refusal_log_odds": 0.5})
REPORT = Scores({ACCURACY: 0.5, "utility/loss": math.nan}, {ACCURACY: (5, 10)}, {"utility/loss": math.inf})
SELECT = Scores({ACCURACY: 0.25, "utility/loss": 1.0}, {ACCURACY: (1, 4)}, {"utility/loss": 0.1})


def test_the_lines_of_a_trial_are_as_they_ever_were_and_hold_all_scores(tmp_path: Path) -> None:
    search, journal = searcher(sweep(trials=1)), Journal(tmp_path / "journal.jsonl")
    recorder = Recorder(journal, search, lambda _job: [], tmp_path / "answers", [])
    search.suggest("tune-1")
    trial = SimpleNamespace(trial_id="tune-1")
    recorder.on_trial_start(1, [], trial)
    updates = [
        Update("step", 4, Scores({"train/loss": 1.0})),
        Update("rung", 4, RUNG),
        Update("measured", 12, report=REPORT, select=SELECT),
    ]
    recorder.on_trial_result(1, [], trial, {"updates": updates})
    written = [list(json.loads(line)) for line in journal.path.read_text().splitlines()]
    assert written[1] == ["event", "time", "id", "step", "metrics"]
    assert written[2] == ["event", "time", "id", "step", "metrics", "counts", "errors"]
    halves = ["metrics", "counts", "errors", "select_metrics", "select_counts", "select_errors"]
    assert written[3] == ["event", "time", "id", "status", *halves, "error", "reason"]
    (record,) = records(read_journal(journal.path))
    assert record.history == ((4, {"train/loss": 1.0}),)
    assert [(rung.step, rung.scores) for rung in record.rungs] == [(4, RUNG)]
    assert record.report == Scores({ACCURACY: 0.5}, {ACCURACY: (5, 10)}), "what is no number was not measured"
    assert record.select == SELECT
