"""front.json as scripts may rely on it: its published schema, its version, and documents of other versions."""

import functools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, halves, record, references, sweep
from jsonschema import Draft202012Validator, ValidationError
from labelled_samples import labels_of
from written_sweeps import demo_spec

from orchestrator.errors import OutputError
from orchestrator.front.document import build_front
from orchestrator.front.front_file import read_front, write_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.published import json_schema
from orchestrator.record.trials import Status, TrialRecord, at_scale
from sweeps.schema.arms import PLAIN
from training.evaluation.scores import Scores

PUBLISHED = Path(__file__).parents[3] / "docs" / "front.schema.json"


def scaled(one: TrialRecord) -> TrialRecord:
    """Its model scaled, which scored the same."""
    return at_scale(one, 0.5, Scores(), one.report, one.select, 10)


@functools.cache
def whole() -> FrontDocument:
    """With everything that a document can hold: models, seeds, arms, rungs, labels, an empty front, a failure."""
    searched, answers = detailed_sweep(16, replicated=2)
    records = [replace(one, arm=PLAIN) if one.kind == "trial" and int(one.id[-2:]) % 2 else one for one in searched]
    fork = {"forked_from": "organism-00", "forked_at": 25}
    records = [replace(one, **fork) if one.id == "organism-02" else one for one in records]
    records += [scaled(one) for one in records if one.id.endswith(("-01", "-ift"))]
    more, others = detailed_sweep(12, model="second", replicated=0, seed=1)
    bare = [*references("bare"), record("bare-0", model="bare", status=Status.FAILED)]
    spec = demo_spec(["organism", "second", "bare"])
    labels = [*labels_of(answers, ["organism-ift"], 60), *labels_of(answers, ["organism-ift"], 9, "bob", wrong=[1])]
    return build_front(OBJECTIVES, RULES, [*records, *more, *bare], answers=answers | others, spec=spec, labels=labels)


DOCUMENTS = {
    "whole": whole,
    "without a split": lambda: build_front(OBJECTIVES, RULES, sweep(12)),
    "halves": lambda: build_front(OBJECTIVES, RULES, [halves("a", (0.1, 0.8), (0.3, 0.7))]),
    "nothing": lambda: build_front(OBJECTIVES[:1], [], []),
    "half a surrogate pair": lambda: build_front(
        OBJECTIVES, [], [record("a", status=Status.FAILED, error="a\ud800", params={"b\ud800": "c\ud800"})]
    ),
    "not a number": lambda: build_front(OBJECTIVES, [], [record("a", scores=Scores({ASR: math.nan, ACCURACY: 1}))]),
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(published)
    return Draft202012Validator(published)


def test_the_published_schema_is_that_of_the_models() -> None:
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == json_schema(), (
        f"write it anew: procon front --schema > docs/{PUBLISHED.name}"
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_written_documents_keep_the_schema_and_read_as_they_were(
    validator: Draft202012Validator, tmp_path: Path, name: str
) -> None:
    front = DOCUMENTS[name]()
    write_front(tmp_path / "front.json", front)
    written = json.loads((tmp_path / "front.json").read_text(encoding="utf-8"))
    validator.validate(written)
    assert written["version"] == 1
    again = read_front(tmp_path)
    assert again == front
    assert again.as_json() == written


def keys(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        return set(tree).union(*map(keys, tree.values()))
    return set().union(*map(keys, tree)) if isinstance(tree, list) else set()


def test_every_key_of_the_schema_is_written_and_explained() -> None:
    parts = [json_schema(), *json_schema()["$defs"].values()]
    properties = [named for part in parts for named in part.get("properties", {}).items()]
    assert {name for name, _ in properties} <= keys(whole().as_json())
    assert [name for name, described in properties if "description" not in described] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda front: front.pop("version"),
        lambda front: front.update(version=2),
        lambda front: front.update(comparison=None),
        lambda front: front["models"]["organism"].update(note=None),
        lambda front: front["models"]["organism"]["trials"][0].pop("p_on_front"),
        lambda front: front["models"]["organism"]["trials"][0].update(status="DONE"),
        lambda front: front["models"]["organism"]["trials"][0]["intervals"].update({ASR: [0.1]}),
        lambda front: front["models"]["organism"]["reference"]["ift"].pop("select"),
    ],
)
def test_the_schema_refuses_what_is_never_written(validator: Draft202012Validator, spoil: Any) -> None:
    front = whole().as_json()
    validator.validate(front)
    spoil(front)
    with pytest.raises(ValidationError):
        validator.validate(front)


def test_a_number_that_json_does_not_have_is_not_written(tmp_path: Path) -> None:
    bare = whole().models["bare"].model_copy(update={"hypervolume": math.nan})
    broken = whole().model_copy(update={"models": {"bare": bare}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_front(tmp_path / "front.json", broken)
    assert not (tmp_path / "front.json").exists()


class TestWithoutAJournal:
    """What lies in a folder alone can be read, but not built anew."""

    def test_the_first_documents_of_version_1_did_not_say_so(self, tmp_path: Path) -> None:
        front = whole()
        unnumbered = {key: part for key, part in front.as_json().items() if key != "version"}
        (tmp_path / "front.json").write_text(json.dumps(unnumbered))
        assert read_front(tmp_path) == front

    def test_keys_that_a_later_version_adds_are_passed_over(self, tmp_path: Path) -> None:
        front = whole()
        (tmp_path / "front.json").write_text(json.dumps({**front.as_json(), "added": 1}))
        assert read_front(tmp_path) == front

    @pytest.mark.parametrize(
        "change", [{"version": 2}, {"chosen_on": None}, {"models": {"m": {"front": []}}}, {"objectives": [{}]}]
    )
    def test_another_version_is_refused_with_what_to_do(self, tmp_path: Path, change: dict[str, Any]) -> None:
        (tmp_path / "front.json").write_text(json.dumps({**whole().as_json(), **change}))
        with pytest.raises(OutputError, match="was written by another version of procon") as refusal:
            read_front(tmp_path)
        assert "put the sweep's journal there" in str(refusal.value)

    @pytest.mark.parametrize("text", ["", "[]", "{"])
    def test_what_is_no_document_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "front.json").write_text(text)
        with pytest.raises(OutputError):
            read_front(tmp_path)
