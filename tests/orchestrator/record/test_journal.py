import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.errors import OutputError
from orchestrator.record.journal import Journal, read_journal, records
from orchestrator.record.score_fields import SELECT, score_fields, scores_in
from orchestrator.record.trials import Status
from training.evaluation.scores import Scores


def started(journal: Journal, name: str) -> None:
    journal.append("trial_started", id=name, model="m", kind="trial", label=name, params={"constraint.alpha": 0.1})


def test_events_become_records(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    started(journal, "m-0")
    started(journal, "m-1")
    journal.append("trial_reported", id="m-0", step=20, metrics={"train/loss": 1.0})
    journal.append("trial_reported", id="m-0", step=10, metrics={"train/loss": 2.0})
    journal.append(
        "trial_ended",
        id="m-0",
        status="FINISHED",
        metrics={"utility/accuracy": 0.5},
        counts={"utility/accuracy": [5, 10]},
        errors={"utility/loss": 0.1},
        select_metrics={"utility/accuracy": 0.25},
        select_errors={"utility/loss": 0.2},
        error=None,
    )
    first, second = records(read_journal(journal.path))
    assert first.status is Status.FINISHED
    assert first.report == Scores({"utility/accuracy": 0.5}, {"utility/accuracy": (5, 10)}, {"utility/loss": 0.1})
    assert first.select == Scores({"utility/accuracy": 0.25}, {}, {"utility/loss": 0.2})
    assert first.history == ((10, {"train/loss": 2.0}), (20, {"train/loss": 1.0}))
    assert first.finished is not None
    assert first.finished >= first.started
    assert (second.status, second.finished) == (Status.RUNNING, None)


def test_a_restarted_trial_keeps_its_latest_reports(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    started(journal, "m-0")
    for loss in (3.0, 2.0):
        journal.append("trial_reported", id="m-0", step=10, metrics={"train/loss": loss})
    assert records(read_journal(journal.path))[0].history == ((10, {"train/loss": 2.0}),)


def test_a_line_cut_by_a_kill_is_left_out_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    started(journal, "m-0")
    with path.open("a") as file:
        file.write('{"event": "trial_ended", "id": "m-')
    assert [event["event"] for event in read_journal(path)] == ["trial_started"]
    journal.close()
    journal = Journal(path)
    assert journal.cut == len('{"event": "trial_ended", "id": "m-')
    started(journal, "m-1")
    assert [event["id"] for event in read_journal(path)] == ["m-0", "m-1"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "a", "time": 1}\nnonsense\n{"event": "b", "time": 2}\n')
    with pytest.raises(OutputError, match="line 2 is damaged"):
        read_journal(path)


def test_a_folder_without_a_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no sweep"):
        read_journal(tmp_path / "journal.jsonl")


def test_what_is_not_a_number_never_enters(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Journal(tmp_path / "journal.jsonl").append("trial_reported", metrics={"train/loss": float("nan")})


def test_threads_never_mix_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def write(name: int) -> None:
        for number in range(50):
            journal.append("e", name=name, number=number, padding="x" * 500)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = read_journal(journal.path)
    assert len(events) == 200
    assert [e["number"] for e in events if e["name"] == 3] == list(range(50))


def test_every_acknowledged_event_survives_sigkill(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from orchestrator.record.journal import Journal
journal = Journal(Path(sys.argv[1]))
number = 0
while True:
    journal.append("e", number=number, padding="x" * 2000)
    print(number, flush=True)
    number += 1
"""
    path = tmp_path / "journal.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(40):
        acknowledged = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate()
    acknowledged = max([acknowledged, *map(int, rest.split())])
    numbers = [event["number"] for event in read_journal(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > acknowledged
    assert json.loads(path.read_text().splitlines()[0])["number"] == 0


def test_a_journal_of_before_errors_were_kept_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    started(journal, "m-0")
    journal.append("trial_ended", id="m-0", status="FINISHED", metrics={"utility/loss": 1.0}, counts={}, error=None)
    (found,) = records(read_journal(journal.path))
    assert found.report == Scores({"utility/loss": 1.0})


def test_where_the_prompts_were_not_split_the_search_saw_what_is_reported(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    started(journal, "m-0")
    measured = {"metrics": {"utility/accuracy": 0.5}, "counts": {"utility/accuracy": [5, 10]}, "errors": {}}
    journal.append("trial_ended", id="m-0", status="FINISHED", error=None, **measured)
    (found,) = records(read_journal(journal.path))
    assert found.select == found.report == Scores({"utility/accuracy": 0.5}, {"utility/accuracy": (5, 10)})


def test_scores_are_read_as_they_were_written_but_what_is_no_number() -> None:
    metrics = {"utility/loss": 1.0, "utility/accuracy": 0.5}
    scores = Scores(metrics, {"utility/accuracy": (5, 10)}, {"utility/loss": 0.1})
    event = json.loads(json.dumps({**score_fields(scores), **score_fields(Scores(), SELECT)}))
    assert list(event) == ["metrics", "counts", "errors", "select_metrics", "select_counts", "select_errors"]
    assert (scores_in(event), scores_in(event, SELECT)) == (scores, Scores())
    unknown = Scores({"utility/loss": math.nan}, errors={"utility/loss": math.inf})
    assert scores_in(score_fields(unknown)) == Scores()


def test_a_journal_that_is_deleted_under_the_sweep_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("note", text="one")
    journal.path.unlink()
    journal.append("note", text="two")
    journal.append("note", text="three")
    assert [event["text"] for event in read_journal(journal.path)] == ["one", "two", "three"]
    assert "was deleted while the sweep ran; it is written anew" in caplog.text
    with pytest.raises(OutputError, match="is in use: another driver"):
        Journal(journal.path)
    journal.close()
    Journal(journal.path).close()


def test_a_clock_that_is_set_changes_no_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("sweep_started")
    real = time.time
    for leap in (-(10**7), 10**7):
        monkeypatch.setattr(time, "time", lambda leap=leap: real() + leap)
        journal.append("note", text="the clock was set")
    journal.append("sweep_ended", interrupted=False)
    assert 0 <= journal.state.seconds < 60
    assert abs(read_journal(journal.path)[-1]["time"] - real()) < 60
    journal.close()
