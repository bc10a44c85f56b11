"""Nothing from outside is parsed or obeyed by what prints: errors, answers, paths, names, settings."""

import dataclasses
import io
import json
import logging
import re
import time
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from command_line import procon
from detailed_samples import detailed_sweep
from front_samples import OBJECTIVES, RULES, sweep
from small_sweeps import small_sweep

from orchestrator.commands import answers_table, inspect_table, status_table, summary
from orchestrator.commands import doctor as machine_doctor
from orchestrator.commands.direction import DirectionOutcome, print_direction
from orchestrator.commands.inspect_samples import Inspection
from orchestrator.commands.plan import table as plan_table
from orchestrator.commands.plan.estimate import Plan
from orchestrator.commands.reproduce import Reproduction, print_reproduction
from orchestrator.commands.status import SweepStatus
from orchestrator.commands.train import TrainOutcome, print_train_outcome
from orchestrator.commands.train_progress import TrainProgress
from orchestrator.driver.progress import Progress
from orchestrator.driver.sweep import Outcome
from orchestrator.front.document import build_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.environment import Difference, Severity
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import Status
from orchestrator.report.files import ReportFiles
from orchestrator.terminal import Terminal, guard_errors, neutralised
from sweeps.schema.spec import SweepSpec
from training.config import CausalConfig, TrialConfig
from training.direction.causal import AnswerCheck, CausalReport, Refusal

HOSTILE = (
    "[/__w/pytorch/gloo] [red]x[/] [/ ]] [ :smile: [link=http://a]b \\[ \x1b[2J\x1b]0;t\x07 \x9b31m\r\x08 \u202e \ud800"
)
SHOWN = "[/__w/pytorch/gloo] [red]x[/] [/ ]] [ :smile: [link=http://a]b \\[ ␛[2J␛]0;t"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
SPEC = SweepSpec.model_validate(small_sweep())


def hostile(wanted: Any, **fields: Any) -> Any:
    """An instance of the dataclass, or of the type, ``wanted`` with hostile texts wherever it holds texts."""
    ready = {
        str: HOSTILE,
        int: 3,
        float: 0.5,
        bool: True,
        Path: Path(HOSTILE.replace("\x00", "")),
        Any: HOSTILE,
        type(None): None,
        SweepSpec: SPEC,
        TrialConfig: SPEC.trial,
    }
    if wanted in ready:
        return ready[wanted]
    if dataclasses.is_dataclass(wanted):
        hints = typing.get_type_hints(wanted, localns={"Extraction": Any})
        names = [field.name for field in dataclasses.fields(wanted) if field.init and field.name not in fields]
        return wanted(**fields, **{name: hostile(hints[name]) for name in names})
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        return inner[0]
    if origin in (typing.Union, types.UnionType):
        return hostile(inner[0])
    if origin is list:
        return [hostile(inner[0])]
    if origin in (dict, Mapping, typing.get_origin(Mapping[str, int])):
        return {hostile(inner[0]): hostile(inner[1])}
    if origin is tuple:
        return tuple(hostile(one) for one in inner if one is not Ellipsis)
    return {"Status": Status.FAILED, "StrEnum": Severity.CRITICAL}.get(wanted.__name__, HOSTILE)


def hostile_front() -> FrontDocument:
    """A front with two models whose every name has a hostile ending, but for the objectives, which are checked."""
    records, answers = detailed_sweep()
    front = build_front(OBJECTIVES, RULES, [*records, *sweep(12, model="other")], answers=answers)
    text = json.dumps(front.as_json())
    for word in ("organism", "other", "phrases", "constraint.alpha", "loss became NaN"):
        text = text.replace(word, word + json.dumps(HOSTILE)[1:-1])
    return FrontDocument.model_validate(json.loads(text))


def outcome() -> Outcome:
    failed = dataclasses.replace(sweep(1)[0], id=HOSTILE, status=Status.FAILED, error=f"a\n{HOSTILE}")
    return hostile(Outcome, front=hostile_front(), records=[failed], files=hostile(ReportFiles), stopped=HOSTILE)


def status() -> SweepStatus:
    limits = {"hours": 1.0, "gpu_hours": None, "money": 2.0}
    return hostile(
        SweepStatus,
        state="stopped",
        counts={"planned": 3, "finished": 1},
        used=limits,
        budget=limits,
        best={HOSTILE: {HOSTILE: {HOSTILE: 0.5}}},
    )


def direction() -> Any:
    refusal = Refusal(0.9, 1.0)
    check = AnswerCheck(0.9, 0.1, 0.1, 0.9, 0.9, 0.1)
    report = CausalReport((), refusal, Refusal(0.8, 0.0), (refusal,), {0: check}, CausalConfig(), (8, 8), HOSTILE)
    extracted = types.SimpleNamespace(
        harmful_prompts=1, harmless_prompts=1, dropped_harmful=0, dropped_harmless=0, fingerprint=HOSTILE
    )
    found = types.SimpleNamespace(direction=extracted, causal=report)
    return hostile(DirectionOutcome, extraction=found)


def progress(terminal: Terminal) -> None:
    def trouble() -> str:
        return HOSTILE

    state = SweepState()
    with Progress(terminal, SPEC, state, trouble) as shown:
        shown.say(HOSTILE)
        shown.phase(HOSTILE)
        shown.warn(HOSTILE)
        ended = {"status": "FAILED", "metrics": {}, "error": f"a\n{HOSTILE}"}
        for event in (
            {"event": "trial_started", "id": HOSTILE, "model": HOSTILE, "kind": "trial", "time": 0.0},
            {"event": "trial_ended", "id": HOSTILE, "time": 2.0, **ended},
            {"event": "note", "text": HOSTILE, "time": 3.0},
        ):
            state.take(event)
            shown.on_event(event)


def training(terminal: Terminal) -> None:
    with TrainProgress(terminal, TrialConfig()) as shown:
        shown.say(HOSTILE)
        shown.phase(HOSTILE, 0.5)


ANSWER = {"set": HOSTILE, "attack": HOSTILE, "family": HOSTILE, "prompt_id": HOSTILE, "split": HOSTILE, "correct": None}
ANSWER |= {"prompt": HOSTILE, "answer": HOSTILE, "refused": None, "complied": False, "verdict.a": True}
ANSWER |= {f"verdict.{HOSTILE}": None}
PRINTERS: dict[str, Callable[[Terminal], object]] = {
    "sweep": lambda terminal: summary.print_outcome(outcome(), terminal),
    "fronts": lambda terminal: summary.print_fronts({HOSTILE: hostile_front(), "b": hostile_front()}, terminal),
    "status": lambda terminal: status_table.print_status(status(), terminal),
    "plan": lambda terminal: plan_table.print_plan(hostile(Plan, nodes=[], warnings=[HOSTILE]), terminal),
    "answers": lambda terminal: answers_table.print_answers([ANSWER], Path(HOSTILE), HOSTILE, terminal, 0),
    "hashes": lambda terminal: answers_table.print_answers(
        [{**ANSWER, "prompt": None, "answer": None, "answer_hash": HOSTILE}], Path(HOSTILE), HOSTILE, terminal, 0
    ),
    "inspection": lambda terminal: inspect_table.print_inspection(hostile(Inspection), terminal),
    "direction": lambda terminal: print_direction(direction(), terminal),
    "reproduction": lambda terminal: print_reproduction(
        hostile(Reproduction, environment=[hostile(Difference, severity=Severity.CRITICAL)]), terminal
    ),
    "training": lambda terminal: print_train_outcome(hostile(TrainOutcome), terminal),
    "doctor": lambda terminal: machine_doctor.print_checks([hostile(machine_doctor.Check)], terminal),
    "progress": progress,
    "training progress": training,
}


@pytest.mark.parametrize("name", PRINTERS)
def test_hostile_texts_are_shown_and_not_obeyed(name: str) -> None:
    shown = io.StringIO()
    PRINTERS[name](Terminal(file=shown, width=4000, color_system=None))
    assert not OBEYED.search(shown.getvalue())
    assert SHOWN in shown.getvalue()


@pytest.mark.parametrize("name", ["progress", "training progress"])
def test_a_live_display_keeps_its_own_codes_and_no_others(name: str) -> None:
    shown = io.StringIO()
    PRINTERS[name](Terminal(file=shown, width=4000, force_terminal=True))
    assert SHOWN in shown.getvalue()
    assert "\x1b[2J" not in shown.getvalue()
    assert "\x1b]0;t" not in shown.getvalue()


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x1b[2J" * 250_000], ids=["solid", "escapes"])
def test_a_million_characters_are_no_trouble(text: str) -> None:
    began = time.process_time()
    shown = io.StringIO()
    terminal = Terminal(file=shown, width=100, color_system=None)
    terminal.say(text)
    answers_table.print_answers([{**ANSWER, "answer": text}], Path("x"), "t", terminal, 0)
    assert not OBEYED.search(shown.getvalue())
    assert "980,000 characters more; --json has them" in " ".join(shown.getvalue().split())
    assert time.process_time() - began < 10


def test_tabs_and_lines_stay() -> None:
    assert neutralised("a\tb\nc") == "a\tb\nc"
    assert neutralised("\x7f\x1b") == "␡␛"


def test_what_is_logged_is_not_obeyed_either() -> None:
    guard_errors()
    assert logging.lastResort is not None
    record = logging.makeLogRecord({"msg": "MLflow refused: %s", "args": (HOSTILE,)})
    assert not OBEYED.search(logging.lastResort.format(record))


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "[/__w/x].yaml"),
        ("plan", "demo", "--set", "[/__w/x]=[red]"),
        ("status", "[/__w/x]\x1b[2J"),
        ("run", "--[/red]"),
        ("run", "", "[/\u202a"),
        ("[/red]",),
    ],
)
def test_a_refusal_quotes_what_it_refuses(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = procon(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "[/" in done.stderr
    assert not OBEYED.search(done.stderr)
