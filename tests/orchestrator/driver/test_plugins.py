"""A constraint, a judge and a metric of a package that is installed beside this one."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_sweeps import Run, small_sweep

from orchestrator.driver.preflight import check_measured
from orchestrator.record.journal import records
from orchestrator.record.manifest import manifest
from orchestrator.record.trials import Status
from sweeps.errors import ObjectiveError, SpecError
from sweeps.goals.metrics import check_metric, names_of_rates
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec
from training.config import plugins
from training.errors import MetricError
from training.evaluation.plugin_metrics import Measured, plugin_scores
from training.evaluation.scores import Scores

ENTRY_POINTS = """
[procon.constraints]
ridge = beside.config:Ridge

[procon.judges]
brief = beside.config:Brief

[procon.metrics]
style/words = beside.words:words
"""
CONFIG = '''
from typing import Literal

from training.config import PluginConstraint, PluginJudge


class Ridge(PluginConstraint):
    """Logits stay small."""

    type: Literal["ridge"] = "ridge"
    power: int = 2

    def build(self, materials):
        from beside.ridge import SmallLogits

        return SmallLogits(self.power)


class Brief(PluginJudge):
    """A short answer refuses."""

    type: Literal["brief"] = "brief"
    name: str = "brief"
    words: int = 4

    def build(self):
        from beside.brief import BriefAnswers

        return BriefAnswers(self.name, self.words)
'''
RIDGE = """
from training.constraints import Constraint


class SmallLogits(Constraint):
    averages_over = "tokens"

    def __init__(self, power):
        self.power = power

    def penalty_sum(self, forward):
        return forward.logits.float().abs().pow(self.power).mean(dim=1).sum()
"""
BRIEF = """
class BriefAnswers:
    asks = "refused"

    def __init__(self, name, words):
        self.name, self.words = name, words

    def judge(self, exchanges):
        return [len(exchange.answer.split()) < self.words for exchange in exchanges]
"""
WORDS = """
from statistics import fmean, stdev

from training.evaluation.scores import Scores


def words(measured):
    lengths = [len(answer.answer.split()) for answer in measured.answers]
    error = stdev(lengths) / len(lengths) ** 0.5
    several = {"style/words/several": (sum(length > 1 for length in lengths), len(lengths))}
    return Scores({"style/words": fmean(lengths)}, several, {"style/words": error})
"""


def write_package(site: Path, entry_points: str = ENTRY_POINTS, name: str = "beside", **modules: str) -> Path:
    """An installed distribution: a package, and what pip writes beside it."""
    code = {"config": CONFIG, "ridge": RIDGE, "brief": BRIEF, "words": WORDS, **modules}
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").touch()
    for module, text in code.items():
        (site / name / f"{module}.py").write_text(text)
    written = site / f"{name}-1.2.dist-info"
    written.mkdir()
    (written / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (written / "entry_points.txt").write_text(entry_points)
    return site


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package beside ours, for this process."""

    def installed(*arguments: str, **modules: str) -> None:
        monkeypatch.syspath_prepend(write_package(tmp_path / "site", *arguments, **modules))
        plugins._declared.cache_clear()

    yield installed
    monkeypatch.undo()
    plugins._declared.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "beside"]:
        del sys.modules[name]


def spec_of(**changes: Any) -> SweepSpec:
    return SweepSpec.model_validate(small_sweep(**changes))


def loaded(folder: Path, **changes: Any) -> SweepSpec:
    (folder / "spec.yaml").write_text(yaml.safe_dump(small_sweep(**changes)))
    return load_spec(folder / "spec.yaml")


def constrained(**block: Any) -> dict[str, Any]:
    return {"trial": {"constraint": block}, "search": {}}


def judged(**judge: Any) -> dict[str, Any]:
    return {"evaluation": {"judges": [judge]}}


def test_blocks_of_another_package_are_validated_and_come_back_from_a_record(install: Install) -> None:
    install()
    made = spec_of(**constrained(type="ridge", alpha=0.5, power=4), **judged(type="brief", words=3))
    constraint, (judge,) = made.trial.constraint, made.evaluation.judges
    assert (constraint.type, constraint.alpha, constraint.power) == ("ridge", 0.5, 4)
    assert (judge.type, judge.name, judge.words) == ("brief", "brief", 3)
    for mode in ("python", "json"):
        dumped = made.model_dump(mode=mode, warnings="error")
        assert dumped["trial"]["constraint"]["power"] == 4
        assert SweepSpec.model_validate(dumped) == made


def test_a_sweep_records_the_packages_that_it_names_and_no_others(install: Install) -> None:
    install()
    search = {"constraint": {"type": {"type": "choice", "values": ["procon", "ridge"]}}}
    for changes in (judged(type="brief"), {"evaluation": {"metrics": ["style/words"]}}, {"search": search}):
        assert manifest(spec_of(**changes))["plugins"] == {"beside": "1.2"}
    assert manifest(spec_of())["plugins"] == {}


def test_a_search_goes_over_types_of_both(install: Install) -> None:
    install()
    kinds = {"type": "choice", "values": ["procon", "ridge"]}
    search = {"constraint": {"type": kinds, "power": {"type": "int", "low": 1, "high": 3}}}
    made = spec_of(search=search)
    ridge = made.trial_config({"constraint.type": "ridge", "constraint.power": 3}).constraint
    assert (ridge.type, ridge.power) == ("ridge", 3)
    assert made.trial_config({"constraint.type": "procon"}).constraint.type == "procon"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (constrained(type="ridge", power="much"), r"trial\.constraint\.power \('much'\) is refused"),
        (constrained(type="ridge", pover=1), r"trial\.constraint\.pover \(1\) is an unknown field"),
        (constrained(type="rigde"), r"trial\.constraint\.type \('rigde'\) is refused: .*'l2_init', .*'ridge'"),
        (judged(type="short"), r"evaluation\.judges\.0\.type \('short'\) is refused: .*'endpoint', 'brief'"),
        ({"evaluation": {"metrics": ["words"]}}, r"metrics \(words\) is declared by no .* use one of style/words"),
    ],
)
def test_what_is_wrong_in_them_is_told_as_of_our_own(
    install: Install, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    install()
    with pytest.raises(SpecError, match=words):
        loaded(tmp_path, **changes)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("import gone_for_good", r"ridge of beside 1\.2 cannot be imported from beside\.config:Ridge \(ModuleNotFound"),
        ("Ridge = int", r"ridge of procon\.constraints is no class derived from PluginConstraint"),
    ],
)
def test_a_package_that_cannot_be_used_is_named_and_disturbs_nobody_else(
    install: Install, tmp_path: Path, module: str, words: str
) -> None:
    install(config=module)
    with pytest.raises(SpecError, match=rf"trial\.constraint: {words}"):
        loaded(tmp_path, **constrained(type="ridge"))
    sys.modules.pop("beside.config", None)
    assert loaded(tmp_path).trial.constraint.type == "procon"
    assert "beside.config" not in sys.modules, "what nobody names is not imported"


def test_a_name_of_two_packages_is_refused(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    other = write_package(tmp_path / "other", "[procon.constraints]\nridge = twin.config:Ridge\n", "twin")
    monkeypatch.syspath_prepend(other)
    plugins._declared.cache_clear()
    with pytest.raises(SpecError, match=r"declared in procon\.constraints more than once \(beside 1\.2, twin 1\.2\)"):
        loaded(tmp_path, **constrained(type="ridge"))


def test_a_metric_is_an_objective_where_it_is_measured(install: Install) -> None:
    install()
    objectives = [{"metric": "style/words/several", "goal": "minimize", "worst": 1}]
    made = spec_of(objectives=objectives, evaluation={"metrics": ["style/words"]})
    check_metric("style/words/several", "objectives.0", 3, names_of_rates(made.data, made.evaluation))
    without = names_of_rates(made.data, spec_of().evaluation)
    with pytest.raises(ObjectiveError, match=r"is not measured: add style/words to evaluation\.metrics"):
        check_metric("style/words/several", "objectives.0", 3, without)


@pytest.mark.parametrize(
    ("entry", "modules", "words"),
    [
        ("utility/accuracy", {}, r"evaluation\.metrics \(utility/accuracy\) is called like a metric"),
        (
            "style/words",
            {"words": "1 / 0"},
            r"evaluation\.metrics: style/words of beside 1\.2 cannot be imported",
        ),
    ],
)
def test_a_metric_that_cannot_be_measured_is_refused_before_anything_starts(
    install: Install, entry: str, modules: dict[str, str], words: str
) -> None:
    install(f"[procon.metrics]\n{entry} = beside.words:words\n", **modules)
    with pytest.raises((SpecError, MetricError), match=words):
        check_measured(spec_of(evaluation={"metrics": [entry]}))


def test_a_metric_keeps_to_its_own_name() -> None:
    measured = Measured([], "report", torch.nn.Identity(), None)  # type: ignore[arg-type]
    own = {"a": lambda _: Scores({"a": 1.0, "a/part": 2.0})}
    assert plugin_scores(own, measured).metrics == {"a": 1.0, "a/part": 2.0}
    with pytest.raises(MetricError, match=r"evaluation\.metrics \(a\) reports ab, which is neither a nor a part of it"):
        plugin_scores({"a": lambda _: Scores({"ab": 1.0})}, measured)


SPEC = {
    "trial": {
        **small_sweep()["trial"],
        "steps": 4,
        "log_every": 2,
        "deepspeed": {"zero_stage": 0},
        "constraint": {"type": "ridge", "alpha": 1e-3},
    },
    "evaluation": {
        **dict.fromkeys(("harmful", "harmless", "borderline", "task"), 6),
        "max_new_tokens": 8,
        "judges": [{"type": "phrases"}, {"type": "brief"}],
        "metrics": ["style/words"],
    },
    "direction": {"prompts": 8},
}
"""All three in one training."""


def test_all_three_take_part_in_a_training(tmp_path: Path) -> None:
    site = write_package(tmp_path / "site")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep(**SPEC, search={})))
    command = [sys.executable, "-m", "orchestrator", "train", "spec.yaml", "--out", "out", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["trial"]["constraint"]["type"], found["trial"]["constraint"]["power"]) == ("ridge", 2)
    penalties = re.findall(r"penalty ([\d.]+)", done.stderr)
    assert len(penalties) == 2
    assert all(float(penalty) > 0 for penalty in penalties)
    for measured in (found["base"], found["trained"]):
        assert 0 <= measured["metrics"]["safety/judged/brief"] <= 1
        assert measured["metrics"]["style/words"] > 0
        assert 0 <= measured["intervals"]["style/words/several"][0] < 1


@pytest.mark.slow
def test_all_three_take_part_in_a_sweep(
    start_sweep: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(write_package(tmp_path / "site")))
    search = {"constraint": {"power": {"type": "choice", "values": [1, 2]}}}
    objectives = [*small_sweep()["objectives"], {"metric": "style/words", "goal": "minimize", "worst": 50}]
    run = start_sweep(tmp_path / "sweep", small_sweep(**SPEC, search=search, objectives=objectives, trials=2))
    code, output = run.finish()
    assert code == 0, output
    found = [record for record in records(run.events) if record.kind == "trial"]
    assert [record.status for record in found] == [Status.FINISHED] * 2
    assert all(record.history[-1][1]["train/penalty"] > 0 for record in found)
    front = json.loads((run.directory / "front.json").read_text())["models"]["small"]
    assert all({"style/words", "safety/judged/brief"} <= trial["metrics"].keys() for trial in front["trials"])
