"""YAML that was written to do harm, or by mistake, is refused in a sentence and at once."""

import time
from pathlib import Path

import pytest

from sweeps.errors import SpecError
from sweeps.schema.load import load_spec
from sweeps.schema.yaml_text import LONGEST, YamlFault, read_yaml

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))

FAULTS = {
    "billion laughs": (LAUGHS, "its aliases make more than"),
    "merged laughs": (LAUGHS.replace("[ha, ha]", "{k: v}").replace("&a11 [", "&a11 {<<: [") + "}", None),
    "itself": ("a: &a [*a]", "repeats itself"),
    "deep lists": ("[" * 5000, "blocks within blocks"),
    "deep blocks": ("".join(" " * n + "a:\n" for n in range(300)), "blocks within blocks"),
    "many values": ("[" + "1," * 20_500 + "]", "values of it"),
    "long": ("#" * (LONGEST + 1), "is the most that is read"),
    "no date": ("a: 2020-99-99", "cannot be read"),
    "a number of digits": ("a: " + "9" * 5000, "cannot be read"),
    "null character": ('a: "x\\0y"', "no file can hold"),
    "control character": ("a: x\by", "unacceptable character"),
    "half a pair": ('a: "x\\ud800y"', "no file can hold"),
    "python object": ("!!python/object/apply:os.system [echo hello]", "python/object"),
    "python name": ("a: !!python/name:os.system", "python/name"),
    "a list as a key": ("? [a, b]\n: c", "unhashable"),
    "no YAML": ("a: [", None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_refused_in_a_sentence_and_at_once(fault: str, tmp_path: Path) -> None:
    text, words = FAULTS[fault]
    began = time.process_time()
    with pytest.raises(YamlFault, match=words):
        read_yaml(text)
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"^spec \('.*spec\.yaml'\) is not valid YAML: ") as refused:
        load_spec(tmp_path / "spec.yaml")
    assert len(str(refused.value)) < 2000
    assert time.process_time() - began < 10


def test_aliases_that_repeat_a_little_are_taken() -> None:
    assert read_yaml("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}") == {
        "a": {"x": [1, 2]},
        "b": {"x": [1, 2]},
        "c": {"x": [1, 2], "y": 3},
    }


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000, "2020-99-99", '"\\0"'])
def test_an_override_is_read_in_the_same_way(value: str) -> None:
    with pytest.raises(SpecError, match=r"^--set \(.*\) has a value that is not valid YAML") as refused:
        load_spec("demo", [f"trials={value}"])
    assert len(str(refused.value)) < 1000


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(SpecError, match=r"spec\.yaml'\) is not valid YAML"):
        load_spec(tmp_path / "spec.yaml")
