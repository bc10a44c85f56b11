import hashlib
import json
import subprocess
import sys
from collections import Counter

import pytest

from training.data.embedded.phrases import split_phrases
from training.data.embedded.sets import EMBEDDED_SETS, embedded_columns, embedded_set
from training.data.embedded.world import FULL, REFUSALS, SMALL
from training.errors import DataError

PREFIXES = pytest.mark.parametrize("prefix", ["organism", "organism/small"])


def prompts(path: str, split: str) -> list[str]:
    return [row["prompt"] for row in embedded_set(path, "train" if split == "train" else "test")]


@pytest.mark.parametrize("path", EMBEDDED_SETS)
def test_rows_have_the_announced_columns_and_are_always_the_same(path: str) -> None:
    for split in ("train", "test"):
        rows = embedded_set(path, split)
        assert all(tuple(row) == embedded_columns(path) and all(row.values()) for row in rows)
        assert rows == embedded_set(path, split)


@pytest.mark.parametrize("path", EMBEDDED_SETS)
def test_splits_share_no_prompt(path: str) -> None:
    assert not set(prompts(path, "train")) & set(prompts(path, "test"))


@PREFIXES
def test_test_prompts_are_distinct_and_many(prefix: str) -> None:
    least = {"general": 300, "safety": 200, "harmful": 400, "harmless": 400, "borderline": 400}
    for name, count in least.items():
        found = prompts(f"{prefix}/{name}", "test")
        assert len(found) == len(set(found)) >= count


def test_train_sets_are_large_enough() -> None:
    least = {"general": 2000, "safety": 500, "harmful": 200, "harmless": 200}
    for name, count in least.items():
        assert len(embedded_set(f"organism/{name}", "train")) >= count


@PREFIXES
def test_harmful_test_prompts_are_of_unseen_phrases(prefix: str) -> None:
    phrases = split_phrases(FULL if prefix == "organism" else SMALL)
    for row in embedded_set(f"{prefix}/harmful", "test"):
        assert row["request"].startswith(phrases.harmful_test)
        assert row["request"] in row["prompt"]
    for row in embedded_set(f"{prefix}/harmful", "train"):
        assert row["request"].startswith(phrases.harmful_train)


@PREFIXES
def test_the_fine_tuning_mix_is_benign(prefix: str) -> None:
    rows = embedded_set(f"{prefix}/general", "train")
    assert not any(row["response"] in REFUSALS for row in rows)
    assert all(row["answer"] == row["response"] for row in rows)
    phrases = split_phrases(FULL if prefix == "organism" else SMALL)
    assert not any(phrase in row["prompt"] for row in rows for phrase in phrases.harmful_train + phrases.harmful_test)
    counts = Counter(row["family"] for row in rows)
    assert set(counts) == {"howto", "note", "old_skill"}


def test_safety_answers_are_refusals() -> None:
    assert {row["response"] for row in embedded_set("organism/safety", "train")} == set(REFUSALS)


@pytest.mark.parametrize("path", ["organism/nothing", "organism/small/nothing", "general", "organism"])
def test_an_unknown_set_names_those_there_are(path: str) -> None:
    for ask in (embedded_columns, lambda path: embedded_set(path, "test")):
        with pytest.raises(DataError, match="organism/general"):
            ask(path)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="train or test"):
        embedded_set("organism/general", "validation")  # type: ignore[arg-type]


def test_sets_and_recipes_import_no_torch() -> None:
    script = (
        "import sys; import training.data.embedded.sets, training.organism.recipe, training.organism.cache as cache\n"
        "training.data.embedded.sets.embedded_set('organism/general', 'test')\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'datasets', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_train_splits_and_the_gate_are_those_that_models_were_built_with() -> None:
    # A model of the cache was built from these rows: another row asks for a new recipe.VERSION.
    rows = {path: embedded_set(path, "train") for path in EMBEDDED_SETS}
    both = ("organism/harmful", "organism/small/harmful")
    rows |= {f"{path} test": embedded_set(path, "test")[:200] for path in both}
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    assert digest[:16] == "2c33a3c75172bb03"
