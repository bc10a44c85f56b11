import pytest
import torch

from training.direction.drift import DriftReference, drift_metrics
from training.direction.vectors import extract_direction, last_prompt_states


@pytest.fixture
def harmful(prompts):
    return prompts[:10]


@pytest.fixture
def harmless(prompts):
    return prompts[20:32]


@pytest.fixture
def reference(model, tokenizer, harmful, harmless):
    direction = extract_direction(model, tokenizer, harmful, harmless)
    return DriftReference.of_initial_model(model, tokenizer, direction, harmful, harmless)


def test_an_untouched_model_has_not_drifted(model, reference):
    metrics = drift_metrics(model, reference)
    assert len(metrics) == 6
    for layer in range(3):
        assert metrics[f"direction/cosine/layer_{layer:02d}"] == pytest.approx(1.0, abs=1e-6)
        assert metrics[f"direction/displacement/layer_{layer:02d}"] == 0.0


def test_drift_of_a_changed_model(model, tokenizer, harmful, harmless, reference):
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(-3)
    metrics = drift_metrics(model, reference, batch_size=5)
    assert metrics["direction/displacement/layer_00"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["direction/cosine/layer_01"] < 0.99
    again = extract_direction(model, tokenizer, harmful, harmless)
    moved = last_prompt_states(model, tokenizer, harmful + harmless)
    for layer in range(3):
        cosine = float(again.unit[layer] @ reference.direction.unit[layer])
        assert metrics[f"direction/cosine/layer_{layer:02d}"] == pytest.approx(cosine, abs=1e-6)
        shift = moved[:, layer] @ reference.direction.unit[layer] - reference.projections[:, layer]
        expected = float(shift.abs().mean())
        assert metrics[f"direction/displacement/layer_{layer:02d}"] == pytest.approx(expected, abs=1e-4)


def test_a_reversed_direction_keeps_its_sign(model, tokenizer, reference):
    swapped = DriftReference(reference.direction, reference.harmless, reference.harmful, reference.projections)
    assert drift_metrics(model, swapped)["direction/cosine/layer_02"] == pytest.approx(-1.0, abs=1e-6)
