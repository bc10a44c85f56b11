"""Every architecture does what the rest of the program takes for granted, or is refused by name."""

import pytest
import table
from architectures import ARCHITECTURES, BY_NAME, REFUSED
from checks import CHECKS, SAMPLES, fits

from training.config import TrialConfig
from training.errors import ModelError
from training.loop.train import TrainingSet
from training.loop.tuning import tuned
from training.models.loading import load_model

SLOW = {
    "Qwen3.5-MoE",
    "Gemma",
    "Gemma 4",
    "Nemotron-H",
    "Llama 4",
    "DeepSeek-V3",
    "OLMo 2",
    "OLMo 3",
    "Granite 3",
    "Command R7B",
    "GLM-4",
    "SmolLM3",
    "Phi",
    "GPT-NeoX, Pythia",
}
"""Left to `make test-all`, so that the default tests stay short."""
COSTLY = {"full tuning", "export"}
TRIED_IN_FULL = {"Llama 2, 3", "Qwen3.5", "Gemma 2", "gpt-oss", "Falcon-H1"}
"""One of each kind; on the others the costly checks are left to `make test-all` too."""
WRITTEN = table.written()


def _slow(name, check):
    return name in SLOW or (check in COSTLY and name not in TRIED_IN_FULL)


CASES = [
    pytest.param(one, name, id=f"{one.name}: {name}", marks=[pytest.mark.slow] if _slow(one.name, name) else [])
    for one in ARCHITECTURES
    for name in CHECKS
]


@pytest.mark.usefixtures("process")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_it_works_or_is_refused_as_docs_models_says(architecture, name):
    assert CHECKS[name](architecture) == WRITTEN[architecture.name][name], "write docs/models.md anew: make models"


@pytest.mark.parametrize("architecture", REFUSED, ids=lambda one: one.name)
def test_what_has_no_residual_stream_or_cache_is_refused_by_name(architecture):
    outcome = fits(architecture)
    assert outcome.startswith("refused: ")
    assert type(architecture.model()).__name__ in outcome
    assert outcome == WRITTEN[architecture.name]["fits"], "write docs/models.md anew: make models"


def test_a_router_in_float32_is_not_rounded_behind_ones_back(tmp_path):
    BY_NAME["DeepSeek-V3"].model().save_pretrained(tmp_path)
    model = load_model(tmp_path, "bf16")
    data = TrainingSet(SAMPLES, len(SAMPLES), None)
    trial = TrialConfig(precision="bf16", steps=1)
    with (
        pytest.raises(ModelError, match=r"DeepseekV3ForCausalLM keeps model\.layers\.1\.mlp\.gate"),
        tuned(model, trial, data, None, lambda _report: False),
    ):
        pass
