import pytest
from pydantic import ValidationError

from sweeps.schema.faults import sentences
from sweeps.schema.spec import SweepSpec
from sweeps.space.unions import blocks_with_types, type_names
from training.config import TrialConfig

SOURCES = {name: {"path": f"{name}.jsonl"} for name in ("task", "safety", "harmful", "harmless", "borderline")}
SPEC = {
    "name": "types",
    "models": [{"name": "m", "path": "organism"}],
    "data": SOURCES,
    "objectives": [{"metric": "utility/accuracy", "goal": "maximize"}],
    "trials": 2,
}


def spec(**changes):
    return SweepSpec.model_validate({**SPEC, **changes})


def test_types_are_read_off_the_schema():
    members = blocks_with_types(TrialConfig)
    assert {"procon", "sdp", "freeze_layers"} <= members["constraint"].keys()
    assert {"lora", "full", "procon", "l2_init"} <= type_names(SweepSpec)


def test_a_searched_type_takes_the_fields_that_it_has():
    searched = {
        "constraint": {
            "type": {"type": "choice", "values": ["procon", "subspace", "kl_reference"]},
            "rank": {"type": "int", "low": 1, "high": 4},
            "norm": {"type": "choice", "values": ["abs", "squared"]},
        }
    }
    made = spec(search=searched, trial={"constraint": {"alpha": 0.3, "layers": [1]}})
    drawn = {"constraint.rank": 2, "constraint.norm": "squared"}
    procon, subspace, divergence = (
        made.trial_config({**drawn, "constraint.type": name}).constraint
        for name in ("procon", "subspace", "kl_reference")
    )
    assert (procon.type, procon.norm, procon.layers, procon.alpha) == ("procon", "squared", [1], 0.3)
    assert (subspace.type, subspace.rank, subspace.layers, subspace.alpha) == ("subspace", 2, [1], 0.3)
    assert (divergence.type, divergence.alpha) == ("kl_reference", 0.3)
    made.check_layers(3)


def test_types_with_settings_of_their_own_are_mixed_in_one_search():
    """Each block of a choice brings its own values; a range beside it is drawn for the types that have the field."""
    blocks = [{"type": "procon", "alpha": 0.04}, {"type": "safe_grad", "alpha": 1.0, "samples": 2}]
    made = spec(search={"constraint": {"type": "choice", "values": blocks}})
    found = [made.trial_config(point).constraint for point in made.space(4).grid()]
    assert [(one.type, one.alpha) for one in found] == [("procon", 0.04), ("safe_grad", 1.0)]
    assert found[1].samples == 2

    searched = {
        "type": {"type": "choice", "values": ["safe_grad", "null_space", "procon"]},
        "alpha": {"type": "uniform", "low": 0.01, "high": 1},
        "samples": {"type": "int", "low": 1, "high": 8},
        "directions": {"type": "int", "low": 4, "high": 32},
    }
    space = spec(search={"constraint": searched}).space(4)

    def draw(name):
        values = {"constraint.type": f'"{name}"', "constraint.alpha": 0.1}
        return space.draw(lambda path, dimension: values.get(path, dimension.at(0.5)))

    drawn = {name: draw(name) for name in searched["type"]["values"]}
    assert {name: sorted(path.partition(".")[2] for path in one) for name, one in drawn.items()} == {
        "safe_grad": ["alpha", "samples", "type"],
        "null_space": ["directions", "type"],
        "procon": ["alpha", "type"],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"trial": {"constraint": {"type": "null_space", "directions": 96}}},
        {
            "search": {
                "constraint": {"type": "choice", "values": [{"type": "null_space", "directions": 96}, {"alpha": 0}]}
            }
        },
        {
            "trial": {"constraint": {"type": "null_space"}},
            "search": {"constraint": {"directions": {"type": "int", "low": 8, "high": 96}}},
        },
    ],
)
def test_directions_must_leave_something(changes):
    made = spec(**changes)
    made.check_directions(97)
    with pytest.raises(ValueError, match=r"directions \(96\) leaves nothing of 96 dimensions: take fewer"):
        made.check_directions(96)


def test_a_field_that_no_searched_type_has_is_refused():
    kinds = {"type": "choice", "values": ["procon", "kl_reference"]}
    with pytest.raises(ValidationError, match=r"search\.constraint\.rank is not a field of a trial"):
        spec(search={"constraint": {"type": kinds, "rank": {"type": "int", "low": 1, "high": 4}}})


@pytest.mark.parametrize("kind", sorted(blocks_with_types(TrialConfig)["constraint"]))
def test_plain_fine_tuning_can_be_made_of_every_type(kind):
    own = {"freeze_layers": {"layers": 1}, "null_space": {"directions": 2}}
    block = {"type": kind, **own.get(kind, {"warmup_steps": 7, "warmup": "extra"})}
    made = spec(trial={"steps": 5, "constraint": block})
    made.check_layers(3)
    for label in ("ift", "ift_safety"):
        plain = made.reference_config(label)
        assert not plain.constraint.active
        assert plain.total_steps == 5
        assert plain.constraint.type == "procon"


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"type": "nothing"}, "trial.constraint.type ('nothing') is refused: it must be one of 'procon', 'sdp'"),
        ({"type": "kl_reference", "norm": "abs"}, "trial.constraint.norm ('abs') is an unknown field: "),
        ({"type": "subspace", "rnak": 3}, "trial.constraint.rnak (3) is an unknown field: did you mean rank?"),
        ({"type": "freeze_layers"}, "trial.constraint.layers is missing"),
        ({"type": "sdp", "alpha": -1}, "trial.constraint.alpha (-1) is refused"),
    ],
)
def test_faults_of_a_type_are_sentences_about_its_own_fields(block, sentence):
    with pytest.raises(ValidationError) as raised:
        spec(trial={"constraint": block})
    (found,) = sentences(raised.value.errors())
    assert found.startswith(sentence)
    if block["type"] == "kl_reference":
        assert "layers" not in found
