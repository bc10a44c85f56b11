"""Opening a sweep's folder: anew, again after a kill, with more trials, with an edited specification."""

import datetime
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from small_sweeps import small_sweep

from orchestrator.commands.stop import request_stop
from orchestrator.driver.session import Session
from orchestrator.driver.watch import Watch
from orchestrator.errors import OutputError
from orchestrator.record.folder import check_output
from orchestrator.record.journal import Journal, read_journal
from orchestrator.record.lock import is_driven
from orchestrator.record.recorded_trial import recorded_trial
from orchestrator.slots.serve import Benches
from orchestrator.slots.setup import SlotSetup
from sweeps.errors import SpecError
from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig


def trial(journal: Journal, trial_id: str, status: str | None) -> None:
    journal.append(
        "trial_started",
        id=trial_id,
        model="small",
        kind="trial",
        label=trial_id,
        params={"constraint.alpha": 0.1},
        trial=None,
    )
    if status:
        journal.append("trial_ended", id=trial_id, status=status, metrics={}, counts={}, error=None)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a sweep whose driver was killed: one trial finished, one under way with a checkpoint."""
    session = Session.new(SweepSpec.model_validate(small_sweep()), tmp_path / "sweeps/out").open()
    trial(session.journal, "small-0", "FINISHED")
    trial(session.journal, "small-1", None)
    (session.directory / "checkpoints/small-1").mkdir(parents=True)
    session.journal.close()
    return session.directory


def events(directory: Path) -> list[str]:
    return [event["event"] for event in read_journal(directory / "journal.jsonl")]


def test_a_killed_sweep_opens_again_with_all_it_knew(left: Path) -> None:
    session = Session.again(left).open()
    assert {record.id: record.status.value for record in session.known} == {
        "small-0": "FINISHED",
        "small-1": "RUNNING",
    }
    assert session.spec == SweepSpec.model_validate(small_sweep())
    assert events(left)[-1] == "sweep_resumed"
    assert json.loads((left / "driver.lock").read_text())["pid"] == os.getpid()
    session.close()
    assert not (left / "driver.lock").exists()


def test_a_specification_that_was_deleted_is_taken_from_the_journal(left: Path) -> None:
    recorded = json.loads((left / "sweep.json").read_text())
    (left / "sweep.json").unlink()
    session = Session.again(left).open()
    assert session.spec == SweepSpec.model_validate(small_sweep())
    session.close()
    assert json.loads((left / "sweep.json").read_text())["spec"] == recorded["spec"]


READ_ONLY = """
import sys
from orchestrator.errors import OutputError
from orchestrator.record.folder import check_output
try:
    check_output(sys.argv[1])
except OutputError as error:
    print(error)
"""


def test_a_folder_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"--out \(.*\) cannot be written: .*/file is read-only or no folder"):
        check_output(tmp_path / "file/out")
    if shutil.which("unshare") is None:
        pytest.skip("this machine has no unshare")
    mount = f'mount -t tmpfs -o ro tmpfs {tmp_path}/there && exec {sys.executable} -c "$0" {tmp_path}/there/out'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, READ_ONLY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let us mount a file system: {done.stderr}")
    assert "there is read-only or no folder; name another" in done.stdout


def rewritten(directory: Path, date: str | None, time: float) -> None:
    """The journal of ``directory`` as if its driver had started at ``time`` and recorded ``date``."""
    lines = [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]
    lines[0]["time"] = time
    lines[0]["manifest"].pop("date")
    if date is not None:
        lines[0]["manifest"]["date"] = date
    (directory / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("recorded", ["2024-02-09", None], ids=["recorded", "as older versions left it"])
def test_a_sweep_keeps_its_day_on_every_later_day(left: Path, recorded: str | None) -> None:
    assert json.loads((left / "sweep.json").read_text())["manifest"]["date"] == datetime.date.today().isoformat()
    rewritten(left, recorded, datetime.datetime(2024, 2, 9, 23, 50).timestamp())
    for _ in range(2):
        session = Session.again(left)
        assert session.manifest["date"] == "2024-02-09"
        session.close()
    assert recorded_trial(left, "small-0").day == datetime.date(2024, 2, 9)


def test_workers_are_told_the_day_and_the_arguments_of_the_template(left: Path) -> None:
    session = Session.again(left)
    session.close()
    spec = session.spec
    day = datetime.date(2024, 2, 9)
    setup = SlotSetup(0, "broker", "here", left, spec.data, spec.direction, spec.evaluation, spec.trial, day)
    model = ModelConfig(name="m", path="nowhere", chat_template_kwargs={"enable_thinking": False})
    chat = Benches(setup).for_model(model)._chat
    assert (chat.date, chat.arguments) == (day, {"enable_thinking": False})


def test_a_second_driver_is_refused(left: Path) -> None:
    session = Session.again(left).open()
    with pytest.raises(OutputError, match="in use: another driver"):
        Session.again(left)
    session.close()
    Session.again(left).open().close()


def test_an_edited_specification_is_shown_and_refused_unless_accepted(left: Path) -> None:
    held = json.loads((left / "sweep.json").read_text())
    held["spec"]["trial"]["learning_rate"] = 0.5
    (left / "sweep.json").write_text(json.dumps(held))
    before = events(left)
    with pytest.raises(OutputError, match=r"--accept(.|\n)*trial.learning_rate: 0.003 -> 0.5"):
        Session.again(left)
    assert events(left) == before
    session = Session.again(left, accept=True).open()
    assert session.spec.trial.learning_rate == 0.5
    assert "spec_changed" in events(left)
    assert not (left / "checkpoints/small-1").exists(), "a half-trained trial starts over"
    session.close()
    Session.again(left).open().close()  # the change is recorded, so that nothing differs any more


def test_more_trials_need_no_acceptance_but_a_changed_space_does(left: Path) -> None:
    session = Session.again(left, more=3).open()
    assert session.spec.trials == 7
    assert (left / "checkpoints/small-1").exists()
    session.close()
    override = ["search.constraint.alpha.high=9.0"]
    with pytest.raises(OutputError, match=r"search.constraint.alpha.high: 3.0 -> 9.0"):
        Session.again(left, override, more=2)
    session = Session.again(left, override, more=2, accept=True).open()
    assert (session.spec.trials, session.spec.search["constraint"]["alpha"]["high"]) == (9, 9.0)
    session.close()


@pytest.mark.parametrize(
    "override", ["evaluation.max_new_tokens=7", "direction.filter=false", "data.harmful.limit=40", "models.0.seed=1"]
)
def test_values_measured_in_two_ways_do_not_get_onto_one_front(left: Path, override: str) -> None:
    before = events(left)
    field = override.partition("=")[0].replace("models.0", "model")
    with pytest.raises(OutputError, match=rf"{field}(.|\n)*warm_start"):
        Session.again(left, [override], accept=True)
    assert events(left) == before


def test_how_it_is_measured_may_change_where_nothing_was_measured_or_no_value_depends_on_it(left: Path) -> None:
    Session.again(left, ["evaluation.keep_answers=true", "evaluation.batch_size=8"], accept=True).close()
    lines = [line for line in (left / "journal.jsonl").read_text().splitlines() if "FINISHED" not in line]
    (left / "journal.jsonl").write_text("\n".join(lines) + "\n")
    session = Session.again(left, ["evaluation.max_new_tokens=7"], accept=True)
    assert session.spec.evaluation.max_new_tokens == 7
    session.close()


def test_more_trials_are_taken_though_an_earlier_version_knew_the_model_by_another_hash(left: Path) -> None:
    lines = [json.loads(line) for line in (left / "journal.jsonl").read_text().splitlines()]
    lines[0]["manifest"]["models"] = {"small": "of another version"}
    (left / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Session.again(left, more=3).close()
    with pytest.raises(OutputError, match=r"evaluation\.max_new_tokens"):
        Session.again(left, ["evaluation.max_new_tokens=7"], accept=True)


def test_a_half_written_last_line_is_cut_and_said(left: Path) -> None:
    with (left / "journal.jsonl").open("a") as file:
        file.write('{"event": "trial_en')
    Session.again(left).open().close()
    resumed = read_journal(left / "journal.jsonl")[-1]
    assert (resumed["event"], resumed["cut"]) == ("sweep_resumed", len('{"event": "trial_en'))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [(["trials=0"], "trials"), (["trial.stepz=3"], "stepz"), (["budget.hours=0"], "leaves nothing to spend")],
)
def test_a_change_that_no_sweep_accepts_is_refused(left: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Session.again(left, overrides, accept=True)


def test_a_folder_without_a_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no sweep: journal.jsonl is missing"):
        Session.again(tmp_path)


def test_stop_asks_the_driver_and_waits_for_it(left: Path) -> None:
    with pytest.raises(OutputError, match="is not running"):
        request_stop(left, 0.0)
    session = Session.again(left).open()
    assert is_driven(left)
    reasons: list[str] = []
    stopped = threading.Event()

    def stop(reason: str) -> None:
        reasons.append(reason)
        stopped.set()

    with Watch(left, lambda: None, lambda: None, stop):
        assert not request_stop(left, 0.0)
        assert stopped.wait(10)
    session.close()
    assert reasons == ["procon stop asked for it"]
    assert not is_driven(left)
    Session.again(left).open().close()
    assert not (left / "stop.request").exists(), "an old request must not stop the next driver"


def test_a_spent_budget_stops_once(tmp_path: Path) -> None:
    reasons: list[str] = []
    looks = threading.Semaphore(0)
    with Watch(tmp_path, lambda: "budget.hours (1) is spent", looks.release, reasons.append):
        for _ in range(3):
            assert looks.acquire(timeout=10)
    assert reasons == ["budget.hours (1) is spent"]
