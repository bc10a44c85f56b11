"""``procon label`` as people use it: in a terminal, with sheets, and what it refuses."""

import csv
import io
import json
import os
import pty
import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import procon
from detailed_samples import detailed_sweep
from labelled_samples import truth
from written_sweeps import demo_spec, write_sweep

from orchestrator.commands.label import label_answers
from orchestrator.commands.label_items import Labelling, find_items
from orchestrator.commands.label_sheets import read_sheet, write_sheet
from orchestrator.errors import OutputError
from orchestrator.front.front_file import read_front
from orchestrator.record.labels import FILE, Item, Label, add_labels, labels_or_warning, read_labels
from orchestrator.terminal import Terminal

HOSTILE = "\x1b[31mred \x1b]0;title\x07[bold]brackets[/bold] \u202ebackwards"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose answers are all different, so that nobody is spared one."""
    records, answers = detailed_sweep(6, replicated=0)
    for trial, rows in answers.items():
        for number, row in enumerate(rows):
            row |= {"answer": f"{row['answer']} {HOSTILE}", "answer_hash": f"{trial} {number}"}
    return write_sweep(tmp_path_factory.mktemp("label") / "sweep", demo_spec(), records, answers)


@pytest.fixture
def sweep(written: Path, tmp_path: Path) -> Path:
    """The same, with no label."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    for file in written.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def pressing(keys: Iterable[str]) -> Callable[[], str]:
    """Somebody who presses ``keys``, and then has gone."""
    waiting = iter(keys)

    def press() -> str:
        found = next(waiting, None)
        if found is None:
            raise EOFError
        return found

    return press


def label(work: Labelling, keys: Iterable[str], count: int = 50, labeller: str = "anna") -> tuple[int, str]:
    screen = io.StringIO()
    given = label_answers(work, labeller, count, Terminal(file=screen, width=100, color_system=None), pressing(keys))
    return given, screen.getvalue()


@pytest.mark.slow
class TestInATerminal:
    """In a real one: keys go in one by one, and what is drawn comes back."""

    def typed(self, sweep: Path, keys: str, *options: str) -> tuple[str, int]:
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ |= {"COLUMNS": "100", "TERM": "xterm"}
            os.execv(sys.executable, [sys.executable, "-m", "orchestrator", "label", str(sweep), *options])
        shown, deadline = "", time.monotonic() + 100

        def read(until: float, condition: Callable[[], bool]) -> bool:
            """Whether ``condition`` came to hold; false where time or the program ends first."""
            nonlocal shown
            while not condition() and time.monotonic() < until:
                if select.select([terminal], [], [], 0.05)[0]:
                    try:
                        shown += os.read(terminal, 65536).decode()
                    except OSError:
                        return False
            return condition()

        for number, key in enumerate(keys):
            assert read(deadline, lambda asked=number: shown.count(" quit   ") > asked), shown
            before = len(shown)
            # What is typed before the answer is on screen is thrown away, and so may this be.
            while (
                not read(time.monotonic() + 3, lambda seen=before: "\n" in shown[seen:]) and time.monotonic() < deadline
            ):
                os.write(terminal, key.encode())
        read(deadline, lambda: False)
        return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_answers_are_labelled_gone_back_to_and_gone_on_with(self, sweep: Path) -> None:
        first, code = self.typed(sweep, "hsxub\x03", "--labeller", "anna", "--count", "5")
        assert code == 0
        assert "1 of 5" in first
        assert "3 of 5" in first
        assert "2 labelled now, 2 in all" in first
        assert first.count("Press one of") == 1, "x is no key"
        assert "→ unsure" in first, "and was taken back"
        labels = read_labels(sweep)
        assert [one.word for one in labels] == ["harmful", "harmless"]
        assert {one.labeller for one in labels} == {"anna"}
        for secret in ("organism", "phrases", "classifier", "verdict", "report", *(one.item.trial for one in labels)):
            assert secret not in first.replace(str(sweep), "").replace("organism: 2 answers", ""), "blinded"
        assert "\x1b[31m" not in first
        assert "\x1b]0;" not in first
        assert "\u202e" not in first
        assert "[bold]brackets[/bold]" in first
        then, code = self.typed(sweep, "sss", "--labeller", "anna", "--count", "5")
        assert code == 0
        assert "3 of 5" in then
        assert "1 of 5" not in then
        assert "3 labelled now, 5 in all" in then
        assert [one.item for one in read_labels(sweep)][:2] == [one.item for one in labels]
        assert "45 more are needed" in then


def test_without_a_terminal_it_says_what_to_do(sweep: Path) -> None:
    done = procon("label", sweep)
    assert (done.returncode, done.stdout) == (2, "")
    assert "shows answers in a terminal, and this is none: --sheet FILE" in done.stderr
    assert not (sweep / FILE).exists()


def test_every_label_is_on_disk_when_the_next_answer_is_shown(sweep: Path) -> None:
    work = find_items(sweep, [], 0)
    seen: list[int] = []

    def press() -> str:
        seen.append(len(read_labels(sweep)))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return "H"

    label_answers(work, "anna", 50, Terminal(file=io.StringIO()), press)
    assert seen == [0, 1, 2, 3]
    assert not [file for file in sweep.iterdir() if file.name.startswith(".labels-")]


def test_back_goes_back_through_earlier_sessions_and_stops_at_the_first(sweep: Path) -> None:
    work = find_items(sweep, [], 0)
    label(work, "hhs")
    given, shown = label(work, "bbbbs")
    assert given == 0
    assert "There is nothing to go back to" in shown
    assert [(one.item, one.word) for one in read_labels(sweep)] == [(work.order[0], "harmless")]


def test_who_is_unsure_is_asked_about_others(sweep: Path) -> None:
    work = find_items(sweep, [], 0)
    given, shown = label(work, "uuhs", count=2)
    assert given == 4
    assert "4 labelled now, 2 in all, 2 unsure" in shown
    assert label(work, "h", count=2)[0] == 0, "two were wanted"


def test_labels_of_others_stay_and_are_not_mine(sweep: Path) -> None:
    work = find_items(sweep, [], 0)
    label(work, "hhh", labeller="anna")
    given, shown = label(work, "sb", labeller="bob")
    assert given == 0
    assert "1 of 50" in shown
    assert Counter(one.labeller for one in read_labels(sweep)) == {"anna": 3}


def test_the_same_answer_to_the_same_prompt_is_asked_about_once(tmp_path: Path) -> None:
    records, answers = detailed_sweep(6, replicated=0)
    folder = write_sweep(tmp_path / "sweep", demo_spec(), records, answers)
    work = find_items(folder, [], 0)
    asked = 0

    def press() -> str:
        nonlocal asked
        asked += 1
        return "s"

    label_answers(work, "anna", 150, Terminal(file=io.StringIO()), press)
    labels = read_labels(folder)
    exchanges = Counter(label.item.prompt_id for label in labels)
    assert len(labels) == 150
    assert asked == len(exchanges) < 90
    assert [one.item for one in labels] == list(work.order[:150]), "each in its turn, so that none comes more often"
    last = list(dict.fromkeys(one.item.prompt_id for one in labels))[-1]
    label(work, "b", count=200)
    assert len(read_labels(folder)) == 150 - exchanges[last], "with it goes what was labelled unasked"


def test_references_and_front_are_asked_about_or_who_is_named(sweep: Path) -> None:
    front = read_front(sweep).models["organism"]
    trials = {item.trial for item in find_items(sweep, [], 0).order}
    assert trials == {*front.front, *(f"organism-{label}" for label in front.reference)}
    other = next(trial.id for trial in front.trials if trial.status == "FINISHED" and not trial.on_front)
    assert {item.trial for item in find_items(sweep, [other, "base"], 0).order} == {other, "organism-base"}


def test_every_model_gets_its_labels(tmp_path: Path) -> None:
    first, answers = detailed_sweep(4, replicated=0)
    second, others = detailed_sweep(4, model="second", replicated=0, seed=1)
    folder = write_sweep(tmp_path / "s", demo_spec(["organism", "second"]), [*first, *second], answers | others)
    assert find_items(folder, [], 0).models == 2
    done = procon("label", folder, "--sheet", tmp_path / "a.csv")
    assert done.stdout.startswith("100 answers are in")
    assert find_items(folder, ["second-base"], 0).models == 1


def test_judges_of_refusals_are_asked_about_in_their_words(tmp_path: Path) -> None:
    records, answers = detailed_sweep(4, replicated=0)
    for rows in answers.values():
        for row in rows:
            row["asks.phrases"] = "refused"
    work = find_items(write_sweep(tmp_path / "sweep", demo_spec(), records, answers), [], 0)
    assert work.words == ("complied", "refused")
    _, shown = label(work, "crh")
    assert "c complied   r refused   u unsure" in shown
    assert [one.word for one in read_labels(work.directory)][:2] == ["complied", "refused"]


class TestWhatIsRefused:
    """In one sentence each, with exit code 2, and nothing is changed."""

    def refused(self, *arguments: object) -> str:
        done = procon("label", *arguments)
        assert done.returncode == 2, done.stdout
        assert len(done.stderr.strip().splitlines()) == 1
        return done.stderr

    def test_what_is_no_sweep(self, tmp_path: Path) -> None:
        assert "holds no sweep" in self.refused(tmp_path)

    def test_an_unknown_trial(self, sweep: Path) -> None:
        said = self.refused(sweep, "--trial", "organism-999")
        assert "--trial (organism-999) is not among the finished trials" in said
        assert "did you mean" in said

    def test_a_sweep_without_answers(self, tmp_path: Path) -> None:
        records, _ = detailed_sweep(4, replicated=0)
        assert "holds no answers of organism-base" in self.refused(write_sweep(tmp_path / "s", demo_spec(), records))

    def test_a_sweep_that_kept_no_texts(self, tmp_path: Path) -> None:
        records, answers = detailed_sweep(4, replicated=0)
        bare = {
            trial: [{name: value for name, value in row.items() if name not in ("prompt", "answer")} for row in rows]
            for trial, rows in answers.items()
        }
        said = self.refused(write_sweep(tmp_path / "s", demo_spec(), records, bare))
        assert "holds no texts of answers, which evaluation.keep_answers: true would have kept" in said
        assert "procon reproduce" in said

    def test_answers_of_a_version_that_did_not_say_what_judges_were_asked(self, tmp_path: Path) -> None:
        records, answers = detailed_sweep(4, replicated=0)
        old = {
            trial: [{name: v for name, v in row.items() if not name.startswith("asks.")} for row in rows]
            for trial, rows in answers.items()
        }
        assert "older version of procon" in self.refused(write_sweep(tmp_path / "s", demo_spec(), records, old))

    def test_labels_of_another_sweep_in_the_folder(self, sweep: Path) -> None:
        add_labels(sweep, [Label(Item("x", "direct", "p", "h"), "anna", "harmful")])
        assert "holds labels of another sweep: none of its 1 is of an answer here" in self.refused(sweep)

    @pytest.mark.parametrize(
        "line",
        ["{", "[]", "7", '{"trial": 1}', '{"trial": "a", "attack": "b", "prompt_id": "c", "answer_hash": "d"}']
        + [
            json.dumps({**dict.fromkeys((*Item._fields, "labeller"), "a"), "label": word})
            for word in ("maybe", None, ["harmful"])
        ],
    )
    def test_a_damaged_line(self, sweep: Path, line: str, caplog: pytest.LogCaptureFixture) -> None:
        label(find_items(sweep, [], 0), "h")
        with (sweep / FILE).open("a") as file:
            file.write(line + "\n")
        before = (sweep / FILE).read_bytes()
        assert f"{FILE}, line 2 is damaged (" in self.refused(sweep)
        assert (sweep / FILE).read_bytes() == before
        caplog.clear()
        assert labels_or_warning(sweep) == [], "the front is shown all the same"
        assert "the report does without labels" in caplog.text

    def test_a_blank_name(self, sweep: Path) -> None:
        assert "--labeller ('') is blank" in self.refused(sweep, "--labeller", " ")

    @pytest.mark.parametrize("options", [("--report", "--sheet", "a.csv"), ("--json",), ("--count", "0")])
    def test_options_that_do_not_go_together(self, sweep: Path, options: tuple[str, ...]) -> None:
        assert procon("label", sweep, *options).returncode == 2


class TestSheets:
    """People label elsewhere, in a spreadsheet."""

    def filled(self, sweep: Path, file: Path, count: int = 60, **changes: Any) -> list[dict[str, str]]:
        assert procon("label", sweep, "--sheet", file, "--count", count, "--labeller", "bob").returncode == 0
        with file.open(newline="", encoding="utf-8") as text:
            rows = list(csv.DictReader(text))
        for row in rows:
            row |= {"label": "harmful" if truth(row) else "Harmless ", **changes}
        return rows

    def write(self, file: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
        with file.open("w", newline="", encoding="utf-8-sig") as text:
            writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)

    def test_a_sheet_goes_out_blinded_and_comes_back(self, sweep: Path, tmp_path: Path) -> None:
        file = tmp_path / "sheet.csv"
        rows = self.filled(sweep, file)
        assert len(rows) == 60
        text = file.read_text()
        assert "organism" not in text
        assert "\x1b" not in text
        assert [row["labeller"] for row in rows] == ["bob"] * 60
        self.write(file, rows, ";")
        assert len(read_sheet(find_items(sweep, [], 0), file, "nobody")) == 60
        self.write(file, rows)
        add_labels(sweep, read_sheet(find_items(sweep, [], 0), file, "nobody"))
        assert {one.labeller for one in read_labels(sweep)} == {"bob"}
        assert [one.item.token for one in read_labels(sweep)] == [row["item"] for row in rows]

    def test_two_people_agree_or_not(self, sweep: Path, tmp_path: Path) -> None:
        for person in ("anna", "bob"):
            rows = self.filled(sweep, tmp_path / f"{person}.csv", 30, labeller=person)
            if person == "bob":
                rows[0]["label"] = "harmful" if rows[0]["label"] != "harmful" else "harmless"
                rows[1]["label"] = "unsure"
                rows[2]["label"] = ""
            self.write(tmp_path / f"{person}.csv", rows)
            add_labels(sweep, read_sheet(find_items(sweep, [], 0), tmp_path / f"{person}.csv", "nobody"))
        (pair,) = read_front(sweep).models["organism"].labels.agreements
        assert (pair.labellers, pair.answers) == (("anna", "bob"), 28)
        assert 0.5 < pair.kappa < 1

    def test_what_a_spreadsheet_would_run_is_no_formula(self, sweep: Path, tmp_path: Path) -> None:
        work = find_items(sweep, [], 0)
        rows = {item: {**row, "answer": "=cmd()", "prompt": "@sum"} for item, row in work.rows.items()}
        write_sheet(replace(work, rows=rows), tmp_path / "a.csv", 2, "anna")
        assert "'=cmd()" in (tmp_path / "a.csv").read_text()
        assert ",=cmd()" not in (tmp_path / "a.csv").read_text()

    def test_a_sheet_that_is_there_is_not_written_over(self, sweep: Path, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("mine")
        done = procon("label", sweep, "--sheet", tmp_path / "a.csv")
        assert "exists already, perhaps filled in" in done.stderr
        assert (tmp_path / "a.csv").read_text() == "mine"

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda rows: [row.update(item="0" * 16) for row in rows], "labels of another sweep: none of its 6 is of"),
            (lambda rows: rows[2].update(item="0" * 16), r"line 4: item (0000000000000000) is no answer in"),
            (lambda rows: rows[1].update(label="bad"), "line 3: label (bad) is not one of complied, refused, harmful"),
            (lambda rows: [row.update(label=" ") for row in rows], "holds no label: fill in the column label"),
            (lambda rows: [row.pop("label") for row in rows], "has no column label"),
            (lambda rows: rows.append({**rows[0], "label": "unsure"}), "labels the answer of line 2 in another way"),
        ],
    )
    def test_what_is_wrong_on_a_sheet(self, sweep: Path, tmp_path: Path, spoil: Any, words: str) -> None:
        file = tmp_path / "a.csv"
        rows = self.filled(sweep, file, 6)
        for row in rows:
            row |= {"prompt": "p", "answer": "a"}
        spoil(rows)
        self.write(file, rows)
        done = procon("label", sweep, "--file", file)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert not (sweep / FILE).exists()

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", None])
    def test_what_is_no_sheet(self, sweep: Path, tmp_path: Path, content: bytes | None) -> None:
        file = tmp_path / "a.csv"
        if content is not None:
            file.write_bytes(content)
        done = procon("label", sweep, "--file", file)
        assert done.returncode == 2
        assert str(file) in done.stderr


class TestTheReport:
    """Judges beside people, wherever judges are shown."""

    @pytest.fixture
    def labelled(self, sweep: Path) -> Path:
        work = find_items(sweep, [], 0)
        label(work, ("h" if truth(work.rows[item]) else "s" for item in work.order), count=60)
        return sweep

    def test_few_labels_say_how_many_are_missing(self, sweep: Path) -> None:
        assert "No answer is labelled yet" in procon("label", sweep, "--report").stdout
        label(find_items(sweep, [], 0), "hhs")
        said = procon("label", sweep, "--report").stdout
        assert "organism: 3 answers are labelled; 47 more are needed" in said
        assert "with 47 more the judges' rates are corrected" in procon("front", sweep).stdout

    def test_with_enough_every_judge_is_beside_people(self, labelled: Path) -> None:
        for verb in (("label", labelled, "--report"), ("front", labelled)):
            said = " ".join(procon(*verb).stdout.split())
            assert "Judges of organism beside 60 labels" in said
            assert "prediction-powered inference" in said
        found = json.loads(procon("label", labelled, "--report", "--json").stdout)["organism"]
        assert (
            found
            == json.loads(procon("front", labelled, "--json").stdout)[str(labelled)]["models"]["organism"]["labels"]
        )
        assert found["labels"] == 60
        assert found["judges"]["phrases"]["kappa"] == 1.0
        corrected = found["judges"]["classifier"]["together"]
        assert corrected["low"] < corrected["value"] < corrected["high"]

    def test_the_page_is_written_anew_when_labels_come(self, labelled: Path, tmp_path: Path) -> None:
        assert not (labelled / "front.html").exists()
        file = tmp_path / "a.csv"
        procon("label", labelled, "--sheet", file, "--count", "100", "--labeller", "<b>eve")
        with file.open(newline="", encoding="utf-8") as text:
            rows = [{**row, "label": "harmful" if truth(row) else "harmless"} for row in csv.DictReader(text)]
        TestSheets().write(file, rows)
        done = procon("label", labelled, "--file", file)
        assert done.returncode == 0, done.stderr
        assert "100 labels of <b>eve were taken in" in done.stdout
        assert "Judges of organism beside 100 labels" in done.stdout, "of which 60 have two"
        page = (labelled / "front.html").read_text(encoding="utf-8")
        assert "Judges beside people</h3>" in page
        assert "&lt;b&gt;eve 100" in page
        assert "<b>eve" not in page
        assert json.loads((labelled / "front.json").read_text())["labelled"] == read_front(labelled).labelled

    def test_a_front_that_was_written_before_the_labels_is_built_anew(self, labelled: Path) -> None:
        first = read_front(labelled).labelled
        label(find_items(labelled, [], 0), "s" * 5, count=65)
        assert read_front(labelled).labelled != first
        (labelled / FILE).unlink()
        assert read_front(labelled).labelled is None
        assert read_front(labelled).models["organism"].labels is None

    def test_a_trial_with_enough_labels_is_corrected_beside_its_rates(self, sweep: Path) -> None:
        work = find_items(sweep, ["ift"], 0)
        label(work, ("h" if truth(work.rows[item]) else "s" for item in work.order), count=70)
        judges = read_front(sweep).models["organism"].labels.judges
        assert set(judges["classifier"].entries) == {"ift"}
        assert "Below: corrected by labels of people." in " ".join(procon("front", sweep).stdout.split())


def test_a_name_is_found_where_the_system_has_none(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert procon("label", sweep, "--sheet", tmp_path / "a.csv", "--count", 1).returncode == 0
    assert (tmp_path / "a.csv").read_text().rstrip().endswith("me")


def test_a_folder_that_cannot_be_written_is_named(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    work = find_items(sweep, [], 0)
    monkeypatch.setattr("orchestrator.record.labels.write_text", full)
    with pytest.raises(OutputError, match=r"labels\.jsonl cannot be written .*nothing was changed"):
        label(work, "h")
