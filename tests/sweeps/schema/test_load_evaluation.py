"""What a specification says of evaluation: more sets, attacks, extractors."""

from pathlib import Path

import pytest

from sweeps.errors import ObjectiveError, SpecError
from sweeps.goals.metrics import check_metric, is_rate, names_of_rates
from sweeps.goals.objectives import Objective
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec

SPEC = """
name: small
models: [{name: m, path: organism/small}]
data:
  task: {path: organism/small/general}
  safety: {path: organism/small/safety}
  harmful: {path: organism/small/harmful}
  harmless: {path: organism/small/harmless}
  borderline: {path: organism/small/borderline}
  harmful_sets: {advbench: {path: advbench.parquet}, copied: {path: organism/small/harmful}}
  capability_sets: {mmlu: {path: mmlu.parquet}}
evaluation:
  attacks: [{name: sure, type: prefill, text: "Sure, here is"}]
  extractors: {mmlu: choice}
objectives: [{metric: safety/attack_success_rate/sure, goal: minimize}, {metric: utility/accuracy/mmlu, goal: maximize}]
trials: 3
pruning: null
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    return file


@pytest.fixture
def spec(spec_file: Path) -> SweepSpec:
    return load_spec(spec_file)


def test_paths_of_named_sets_become_absolute(spec: SweepSpec, spec_file: Path) -> None:
    assert spec.data.harmful_sets["advbench"].path == str(spec_file.parent / "advbench.parquet")
    assert spec.data.harmful_sets["copied"].path == "organism/small/harmful"
    assert list(spec.data.sources)[-3:] == ["harmful_sets.advbench", "harmful_sets.copied", "capability_sets.mmlu"]
    assert SweepSpec.model_validate(spec.model_dump()) == spec


def test_a_bare_name_is_an_extractor(spec: SweepSpec) -> None:
    assert spec.evaluation.extractors["mmlu"].type == "choice"
    assert spec.evaluation.extractor.type == "auto"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("evaluation.extractor=letters", r"evaluation\.extractor\.type \('letters'\) is refused: it must be 'auto',"),
        ("evaluation.extractor={type: regex, pattern: '('}", r"evaluation\.extractor\.pattern \('\('\) is not a reg"),
        ("evaluation.attacks.0.type=suffix", r"evaluation\.attacks\.0\.type \('suffix'\) is refused"),
        ("evaluation.attacks.0.type=template", r"evaluation\.attacks\.0\.text .* has no {prompt}"),
        ("evaluation.attacks.0.name=advbench", r"evaluation\.attacks \(advbench\) is the name of a set in data"),
        ("evaluation.report_share=1", r"evaluation\.report_share .* is refused"),
        ("data.capability_sets.task={path: a.jsonl}", r"data\.capability_sets \(task\) is the name of another set"),
        ("data.harmful_sets.A={path: a.jsonl}", r"data\.harmful_sets \('A'\) is no usable name"),
    ],
)
def test_faults_are_sentences_that_name_the_field(spec_file: Path, override: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        load_spec(spec_file, [override])


@pytest.mark.parametrize(
    "metric",
    [
        "safety/attack_success_rate/sure",
        "safety/attack_success_rate/advbench",
        "safety/attack_success_rate/harmful",
        "safety/compliance_rate/copied",
        "utility/accuracy/any family/of the data",
        "utility/coherence",
        "safety/judged/phrases",
        "safety/unknown/echo",
    ],
)
def test_metrics_of_sets_and_attacks_are_rates(spec: SweepSpec, metric: str) -> None:
    check_metric(metric, "objectives.0.metric", names=names_of_rates(spec.data, spec.evaluation))
    assert is_rate(metric)


@pytest.mark.parametrize(
    ("metric", "advice"),
    [
        ("safety/attack_success_rate/advbensh", "it is measured for harmful, advbench, copied, sure"),
        ("safety/judged/guard", "it is measured for phrases, echo"),
        ("safety/over_refusal/borderline", "use safety/over_refusal"),  # one set: no part of the rate
    ],
)
def test_metrics_of_sets_that_are_not_there_are_refused(spec: SweepSpec, metric: str, advice: str) -> None:
    with pytest.raises(ObjectiveError, match=advice):
        check_metric(metric, "objectives.0.metric", names=names_of_rates(spec.data, spec.evaluation))


def test_agreement_of_judges_is_a_metric_but_no_rate() -> None:
    assert Objective(metric="judges/kappa/phrases/guard", goal="maximize", worst=-1.0).reference == -1.0
    assert not is_rate("judges/kappa/phrases/guard")


class TestScales:
    def test_those_between_untouched_and_trained_are_measured_besides(self):
        assert load_spec("demo", ["evaluation.scales=[1.25, 0.5, 1.0]"]).evaluation.derived_scales == (0.5, 1.25)
        assert load_spec("demo", ["evaluation.scales=[]"]).evaluation.derived_scales == ()

    @pytest.mark.parametrize(
        ("scales", "fault"),
        [
            ("[0.5, 0]", r"scales \(0\) is the untouched model, which is a reference"),
            ("[-0.5]", r"scales \(-0\.5\) lies too far out: write numbers above 0 and up to 2"),
            ("[2.5]", r"scales \(2\.5\) lies too far out"),
            ("[.nan]", r"scales"),
            ("[0.33333]", r"scales \(0\.33333\) has more than four decimals"),
            ("[0.5, 0.5]", r"scales \(0\.5\) is listed twice"),
        ],
    )
    def test_others_are_refused(self, scales, fault):
        with pytest.raises(SpecError, match=fault):
            load_spec("demo", [f"evaluation.scales={scales}"])

    @pytest.mark.parametrize(
        "setting", ["trial.tuning.use_dora=true", "search.tuning.use_dora={type: choice, values: [true, false]}"]
    )
    def test_magnitudes_of_their_own_have_no_scale(self, setting):
        with pytest.raises(SpecError, match=r"evaluation\.scales \(0\.5\) cannot scale adapters with magnitudes"):
            load_spec("demo", ["evaluation.scales=[0.5]", setting])
