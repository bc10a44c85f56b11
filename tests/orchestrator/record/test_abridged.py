"""What status asks of a journal comes to the same from the whole and from what was kept of it, wherever it was cut."""

import itertools
import json
import random
from pathlib import Path

import pytest

from orchestrator.commands.status import sweep_status
from orchestrator.errors import OutputError
from orchestrator.record import abridged
from orchestrator.record.abridged import Abridged, kept_in
from orchestrator.record.folder import JOURNAL
from sweeps.schema.load import load_spec

SPEC = load_spec("demo", ["trials=6"])
NAMES = ("safety/attack_success_rate", "utility/accuracy", "safety/over_refusal", "direction/cosine/layer_00")


def events(seed):
    """A sweep of two drivers: trials that are repeated, scaled, stopped, begun again, pruned and under way."""
    luck, clock = random.Random(seed), itertools.count(1000, 10)
    trial = SPEC.trial.model_dump(mode="json")
    spec = SPEC.model_dump(mode="json")

    def say(event, **fields):
        return {"event": event, "time": float(next(clock)), **fields}

    def scores(prefix=""):
        measured = {name: luck.random() * (0.12 if "refusal" in name else 1) for name in NAMES}
        return {f"{prefix}metrics": measured, f"{prefix}counts": {}, f"{prefix}errors": {}}

    def start(name, kind="trial", of=None):
        about = {"model": "organism", "kind": kind, "label": name, "params": {"constraint.alpha": luck.random()}}
        return say("trial_started", id=name, **about, trial=trial, replicate_of=of)

    def work(name):
        for step in (10, 20):
            yield say("trial_reported", id=name, step=step, metrics={"train/loss": 1.0, "train/seconds": 2.0})
        yield say("trial_rung", id=name, step=25, **scores())

    def end(name, status="FINISHED"):
        return say("trial_ended", id=name, status=status, error=None, **scores(), **scores("select_"))

    yield say("sweep_started", spec={**spec, "feasible": []}, manifest={})
    for number in range(8):
        name = f"organism-{number}"
        yield start(name)
        yield from work(name)
        if number % 3 == 0:
            yield say(
                "trial_scaled", id=name, step=100, scale=0.5, **scores(), **scores("report_"), **scores("select_")
            )
        yield end(name, luck.choice(["FINISHED", "FINISHED", "PRUNED", "STOPPED"]))
        yield say("mlflow_run", key=name, run_id="r")
    yield start("organism-cut")
    yield from work("organism-cut")
    yield say("slots_lost", lost=1)
    yield say("sweep_resumed", manifest={})
    yield start("organism-cut")
    yield start("organism-1-r1", "replicate", "organism-1")
    yield from work("organism-1-r1")
    yield end("organism-1-r1")
    yield say("spec_changed", spec={**spec, "feasible": ["safety/over_refusal <= 0.05"]}, changes=[])
    yield say("note", text="a slot is slow")
    yield from work("organism-cut")


def write(folder: Path, listed) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / JOURNAL).write_text("".join(json.dumps(event) + "\n" for event in listed))
    return folder


@pytest.fixture
def alive(monkeypatch):
    """A driver lives, and its clock stands still, so that what is under way and what is left count too."""
    monkeypatch.setattr("orchestrator.commands.status.driver_lives", lambda _directory: True)
    monkeypatch.setattr("orchestrator.commands.status.time.time", lambda: 5000.0)


def without_keeping(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abridged, "WORTH", 2**30)
        return sweep_status(folder).as_json()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("alive")
def test_status_is_the_same_wherever_the_journal_was_cut(tmp_path, monkeypatch, seed):
    listed = list(events(seed))
    monkeypatch.setattr(abridged, "WORTH", 0)
    for cut in range(1, len(listed) + 1, 3):  # one kept file, which grows with the journal
        folder = write(tmp_path / "sweep", listed[:cut])
        assert sweep_status(folder).as_json() == without_keeping(folder), f"after {cut} events"
    kept = Abridged.read(kept_in(folder / JOURNAL), (folder / JOURNAL).read_bytes())
    assert kept is not None
    assert kept.lines == cut
    assert len(kept.events) < 0.7 * cut


def test_what_is_kept_is_used_and_what_follows_is_read_from_the_journal(tmp_path, monkeypatch):
    listed = list(events(0))[:36]  # before the specification asks for more
    folder = write(tmp_path / "sweep", listed[:30])
    monkeypatch.setattr(abridged, "WORTH", 0)
    sweep_status(folder)
    read = []
    whole = abridged.events_in

    def noting(path, content, *more):
        read.append(content)
        return whole(path, content, *more)

    monkeypatch.setattr(abridged, "events_in", noting)
    write(folder, listed)
    sweep_status(folder)
    assert [content.count(b"\n") for content in read] == [len(listed) - 30]


def edit_journal(_kept: Path, journal: Path):
    text = journal.read_text()
    journal.write_text(text.replace('"time": 1020.0', '"time": 1021.0', 1))


def make_older(kept: Path, _journal: Path):
    kept.write_text(kept.read_text().replace('"format": 1', '"format": 0', 1))


def shorten(kept: Path, _journal: Path):
    kept.write_bytes(kept.read_bytes()[:-40])


def remove(kept: Path, _journal: Path):
    kept.unlink()


def cut_journal(_kept: Path, journal: Path):
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:20]))


@pytest.mark.parametrize("change", [edit_journal, make_older, shorten, remove, cut_journal])
def test_what_does_not_fit_is_made_anew_from_the_journal(tmp_path, monkeypatch, change):
    monkeypatch.setattr(abridged, "WORTH", 0)
    folder = write(tmp_path / "sweep", events(1))
    sweep_status(folder)
    file, journal = kept_in(folder / JOURNAL), folder / JOURNAL
    change(file, journal)
    assert Abridged.read(file, journal.read_bytes()) is None
    assert sweep_status(folder).as_json() == without_keeping(folder)
    assert Abridged.read(file, journal.read_bytes()) is not None


def test_a_damaged_line_is_refused_with_its_number_in_the_journal(tmp_path, monkeypatch):
    listed = list(events(0))
    folder = write(tmp_path / "sweep", listed[:30])
    monkeypatch.setattr(abridged, "WORTH", 0)
    sweep_status(folder)
    with (folder / JOURNAL).open("a") as file:
        file.write('{"event": "note"}\n{"half')
    with pytest.raises(OutputError, match="line 31 is damaged"):
        sweep_status(folder)


def test_a_cache_that_cannot_be_written_and_a_folder_that_is_only_read_do(tmp_path, monkeypatch):
    monkeypatch.setattr(abridged, "WORTH", 0)
    folder = write(tmp_path / "sweep", events(2))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "file"))
    assert sweep_status(folder).as_json() == without_keeping(folder)
    assert sorted(path.name for path in folder.iterdir()) == [JOURNAL]


def test_few_sweeps_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(abridged, "WORTH", 0)
    monkeypatch.setattr(abridged, "KEPT", 2)
    folders = [write(tmp_path / name, events(0)) for name in "abc"]
    for folder in folders:
        sweep_status(folder)
    assert [kept_in(folder / JOURNAL).exists() for folder in folders] == [False, True, True]
