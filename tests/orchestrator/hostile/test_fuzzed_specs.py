"""Any specification is taken or refused in sentences."""

import json
import tempfile
from pathlib import Path

import yaml
from cases import TEXTS, VALUES, counts, damaged, holds, result, spoilt
from hypothesis import strategies as st
from small_sweeps import small_sweep

from sweeps.errors import SpecError
from sweeps.schema.load import change_spec, load_spec
from sweeps.schema.spec import SweepSpec
from sweeps.schema.spec_files import preset_file

PRESETS = [yaml.safe_load(preset_file(name).read_text()) for name in ("demo", "llm-8b-one-gpu")]
TREES = [small_sweep(pruning={"rungs": [0.5]}, seeds={"replicates_on_front": 2}, budget={"hours": 1}), *PRESETS]


def taken_or_refused(text: bytes, overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        file.write_bytes(text)
        spec = result(lambda: load_spec(file, overrides), SpecError)
    if spec is not None and spec.trial.epochs is None:  # which run counts first
        again = SweepSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json"))))
        assert again == spec, "a journal holds it, and a resume reads it"


@counts(60, 3000)
def test_fields_of_any_value(count: int) -> None:
    def check(tree: object) -> None:
        taken_or_refused(yaml.safe_dump(tree).encode(errors="surrogatepass"), [])

    holds(count, check, tree=st.sampled_from(TREES).flatmap(spoilt))


@counts(15, 500)
def test_damaged_text(count: int) -> None:
    text = preset_file("demo").read_bytes()
    contents = st.one_of(damaged(text), st.binary(max_size=60))
    holds(count, lambda content: taken_or_refused(content, []), content=contents)


FIELDS = st.sampled_from(
    ["trials", "name", "trial.steps", "search", "search.constraint.alpha", "objectives.0", "models.0.path", "data.task"]
)


@counts(25, 1000)
def test_overrides(count: int) -> None:
    written = st.one_of(TEXTS, VALUES.map(lambda value: json.dumps(value, allow_nan=True)))
    override = st.one_of(TEXTS, st.tuples(st.one_of(FIELDS, TEXTS), written).map("=".join))
    spec = SweepSpec.model_validate(small_sweep())
    text = yaml.safe_dump(small_sweep()).encode()

    def check(overrides: list[str]) -> None:
        taken_or_refused(text, overrides)
        result(lambda: change_spec(spec, overrides), SpecError)

    holds(count, check, overrides=st.lists(override, min_size=1, max_size=2))
