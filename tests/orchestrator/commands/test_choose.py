"""``procon choose`` as it is typed."""

import json
from pathlib import Path

import pytest
from command_line import procon
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, record
from written_sweeps import demo_spec, write_sweep

from orchestrator.front.front_file import read_front
from orchestrator.record.trials import Status

RULE = "over_refusal <= .2, accuracy >= ift - .3, min attack_success_rate"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records, answers = detailed_sweep(8, replicated=0)
    return write_sweep(tmp_path_factory.mktemp("chosen") / "my sweep", demo_spec(), records, answers)


@pytest.mark.parametrize("columns", ["60", "80"])
def test_it_says_which_why_how_sure_at_what_cost_and_how_to_get_it(sweep: Path, columns: str) -> None:
    said = procon("choose", sweep, "--rule", RULE, COLUMNS=columns)
    assert said.returncode == 0
    found = json.loads(procon("choose", sweep, "--rule", RULE, "--json").stdout)["organism"]
    assert said.stdout.startswith(f"organism: trial {found['trial'].removeprefix('organism-')}\n")
    assert "keep the rule" in said.stdout
    for name in ("base", "plain IFT", "IFT+safety", "(next)"):
        assert name in said.stdout
    pair = found["alternatives"][1]["differences"][ACCURACY]
    assert f"{pair['value']:+.2f} [" in said.stdout
    assert f"procon export '{sweep}' --trial {found['trial']} --to {found['trial']}" in said.stdout
    tables = said.stdout.split("Its weights")[0].splitlines()
    assert max(map(len, tables)) <= int(columns)
    # No number is broken over two lines.
    assert not any(line.rstrip().endswith((",", "[")) for line in tables if "[" in line)


def test_without_a_rule_it_is_the_choice_of_the_front(sweep: Path) -> None:
    found = json.loads(procon("choose", sweep, "--json").stdout)["organism"]
    choice = read_front(sweep).models["organism"].choice
    assert choice is not None
    assert {key: found[key] for key in choice.as_json()} == choice.as_json()
    assert found["params"]["constraint.alpha"] > 0


def test_what_cannot_be_chosen_is_refused(sweep: Path, tmp_path: Path) -> None:
    wrong = procon("choose", sweep, "--rule", "accuracy >= iff")
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[1:] == ["procon:   accuracy >= iff", "procon:               ^"]
    assert "there are organism" in procon("choose", sweep, "--model", "other").stderr
    empty = write_sweep(tmp_path / "empty", demo_spec(), [record("a", status=Status.FAILED)])
    assert "holds no finished trial yet" in procon("choose", empty).stderr
