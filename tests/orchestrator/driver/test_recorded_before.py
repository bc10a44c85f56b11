"""A sweep that the version before the rooms recorded (commit c2f20a1) and whose driver was killed goes on.

The folder holds what that version wrote, without its checkpoints, answers and references: the specification, and the
journal, cut behind the first report of the last trial as a kill leaves it. The model is the one that every version
calls organism/small; that one was built on the machine, this version ships it, and both are of one recipe, by which
they are known.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_sweeps import Cluster, Run

from orchestrator.commands.status import sweep_status
from orchestrator.front.front_file import read_front
from orchestrator.record.folder import JOURNAL
from orchestrator.record.journal import read_state
from orchestrator.record.trials import Status

pytestmark = pytest.mark.xdist_group("sweeps")
RECORDED = Path(__file__).parents[1] / "recorded/c2f20a1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "sweeps/out"
    shutil.copytree(RECORDED, copied)
    return copied


def test_its_records_are_read(folder: Path) -> None:
    state = read_state(folder / JOURNAL)
    statuses = {record.id: record.status for record in state.records()}
    assert statuses == {
        "small-base": Status.FINISHED,
        "small-ift": Status.FINISHED,
        "small-ift_safety": Status.FINISHED,
        "small-0": Status.FINISHED,
        "small-1": Status.RUNNING,
    }
    status = sweep_status(folder)
    assert (status.state, status.counts["finished"], status.counts["stopped"]) == ("driver dead", 4, 1)
    assert read_front(folder).models["small"].front == ("small-0",)


@pytest.mark.slow
def test_it_is_resumed_to_its_end(
    start_sweep: Callable[..., Run], cluster: Cluster, folder: Path, tmp_path: Path
) -> None:
    before = {record.id: record for record in read_state(folder / JOURNAL).records() if record.kept}
    run = start_sweep(tmp_path, None, "resume", str(folder), *cluster.join)
    code, output = run.finish(300)
    assert code == 0, output
    after = {record.id: record for record in read_state(folder / JOURNAL).records()}
    assert {record.status for record in after.values()} == {Status.FINISHED}
    assert {name: after[name] for name in before} == before, "what had ended is as it was"
    front = json.loads((folder / "front.json").read_text())["models"]["small"]
    assert [trial["id"] for trial in front["trials"]] == ["small-0", "small-1"]
    assert sweep_status(folder).state == "ended"
