"""Constraints on the residual stream besides ProCon: subspace, feature_l2, sdp, random_direction, anchor."""

import copy

import pytest
import torch
from oracle import entry_of, moved, penalty_by_hooks, state_changes
from tiny import random_direction, random_samples, tiny_llama

from training.config import (
    AnchorConstraint,
    FeatureL2Constraint,
    LoraTuning,
    RandomDirectionConstraint,
    SdpConstraint,
    SubspaceConstraint,
)
from training.constraints import Initial, build_constraint
from training.constraints.anchor import Anchor, anchor_tokens, final_states
from training.constraints.feature_l2 import FeatureL2
from training.constraints.initial_pass import as_before_training
from training.constraints.random_direction import random_units, real_twin
from training.constraints.sdp import response_direction
from training.constraints.subspace import Subspace, refusal_subspace
from training.direction.vectors import last_prompt_states
from training.errors import DirectionError, ModelError
from training.loop.loss import ConstrainedLoss
from training.models.adapters import attach

CPU = torch.device("cpu")
INDICES = [3, 7, 11, 20]
PACKED = pytest.mark.parametrize("row_length", [None, 24], ids=["padded", "packed"])
TOKENS = pytest.mark.parametrize("tokens", ["response", "last_prompt", "all"])
PROMPTS = [f"please build a house {number}" for number in range(9)], [f"tell me how {number}" for number in range(9)]


def initial_of(chat_tokenizer, **changes):
    return Initial(tiny_llama(**changes).double(), chat_tokenizer, *PROMPTS)


def orthonormal(layers=3, rank=2, width=16):
    raw = torch.randn(layers, width, rank, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return torch.linalg.qr(raw).Q.mT.contiguous()


# --- subspace ---------------------------------------------------------------------------------------------------------


def test_subspace_holds_the_difference_of_means_then_the_principal_rest():
    generator = torch.Generator().manual_seed(0)
    # In layer 0 harmful states differ from the harmless mean by 3 e0 on average, and vary along e2 more than along e1.
    spread = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [1.0, -2.0], [-1.0, -2.0]])
    harmful = torch.zeros(4, 1, 5)
    harmful[:, 0, 0] = 3
    harmful[:, 0, 1:3] = spread
    harmless = torch.randn(6, 1, 5, generator=generator)
    harmless = harmless - harmless.mean(0)
    unit, separation = refusal_subspace(harmful, harmless, 3)
    assert separation.tolist() == pytest.approx([3.0])
    assert unit[0].abs().tolist() == [pytest.approx(row, abs=1e-6) for row in torch.eye(5)[[0, 2, 1]].tolist()]


def test_subspace_is_orthonormal_and_refuses_more_than_the_prompts_span():
    generator = torch.Generator().manual_seed(1)
    harmful, harmless = (torch.randn(5, 3, 16, generator=generator) for _ in range(2))
    unit, _ = refusal_subspace(harmful, harmless, 5)
    torch.testing.assert_close(unit @ unit.mT, torch.eye(5).expand(3, 5, 5), rtol=0, atol=1e-5)
    with pytest.raises(DirectionError, match=r"constraint\.rank \(6\) is more than the 5 directions that 5 harmful"):
        refusal_subspace(harmful, harmless, 6)


@PACKED
@TOKENS
@pytest.mark.parametrize("site", ["block_input", "block_output"])
def test_subspace_agrees_with_a_naive_pass_of_two_models(site, tokens, row_length):
    layers = [0, 1] if site == "block_output" else [1, 2]
    config = SubspaceConstraint(alpha=1, layers=layers, site=site, tokens=tokens, rank=2, layer_reduction="mean")
    initial, current, samples, unit = (
        tiny_llama().double(),
        moved(tiny_llama().double()),
        random_samples(),
        orthonormal(),
    )
    constraint = Subspace(unit, [0, 1], tokens, CPU, layer_reduction="mean")
    expected = 0.0
    for layer in layers:
        entry = entry_of(config, layer)
        changes = torch.cat([state_changes(initial, current, samples, i, config, entry) for i in INDICES])
        expected += (changes @ unit[entry - 1].mT).square().sum(1).mean().item() / 2
    assert penalty_by_hooks(constraint, initial, current, samples, INDICES, row_length) == pytest.approx(expected)


def test_subspace_of_every_direction_is_feature_l2():
    initial, current, samples = tiny_llama().double(), moved(tiny_llama().double()), random_samples()
    everything = torch.eye(16, dtype=torch.float64).expand(3, 16, 16).contiguous()
    subspace = Subspace(everything, [0, 2], "response", CPU)
    whole = FeatureL2(initial, [0, 2], "block_output", "response")
    found = [penalty_by_hooks(one, initial, current, samples, INDICES) for one in (subspace, whole)]
    assert found[0] == pytest.approx(found[1])


def test_subspace_is_built_from_the_prompts_of_the_direction(chat_tokenizer):
    initial = initial_of(chat_tokenizer, max_position_embeddings=256)
    made = build_constraint(SubspaceConstraint(rank=3, site="block_input"), random_direction(), CPU, initial)
    states = (last_prompt_states(initial.model, chat_tokenizer, prompts) for prompts in PROMPTS)
    expected, _ = refusal_subspace(*states, 3)
    assert made.layers == [0, 1]
    torch.testing.assert_close(made.units, expected[[0, 1]])


# --- feature_l2 -------------------------------------------------------------------------------------------------------


def adapted_pair():
    """A model whose adapters have been trained, and the model without them."""
    adapted = attach(tiny_llama().double(), LoraTuning(rank=2, dropout=0.5), 0)
    return tiny_llama().double(), moved(adapted).eval()


@PACKED
@TOKENS
@pytest.mark.parametrize("site", ["block_input", "block_output"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_feature_l2_agrees_with_a_naive_pass_of_two_models(tuning, site, tokens, row_length):
    initial, current = adapted_pair() if tuning == "lora" else (tiny_llama().double(), moved(tiny_llama().double()))
    layers = [0, 1] if site == "block_output" else [1, 2]
    config = FeatureL2Constraint(alpha=1, layers=layers, site=site, tokens=tokens)
    # Under LoRA the initial model is the trained one with its adapters off: what is passed is not looked at.
    constraint = FeatureL2(initial if tuning == "full" else torch.nn.Identity(), layers, site, tokens)
    expected = 0.0
    for layer in layers:
        entry = entry_of(config, layer)
        changes = torch.cat([state_changes(initial, current, random_samples(), i, config, entry) for i in INDICES])
        expected += changes.square().sum(1).mean().item()
    found = penalty_by_hooks(constraint, initial, current, random_samples(), INDICES, row_length)
    assert found == pytest.approx(expected)


def test_the_initial_pass_has_neither_adapters_dropout_nor_gradient_and_leaves_all_as_it_was():
    plain, adapted = adapted_pair()
    adapted.train()
    ids = torch.tensor([[5, 6, 7, 8]])
    before = {name: (weight.requires_grad, weight.clone()) for name, weight in adapted.named_parameters()}
    with as_before_training(adapted, torch.nn.Identity()) as run:
        logits = run(input_ids=ids).logits
        with pytest.raises(RuntimeError, match="stopped"), as_before_training(adapted, torch.nn.Identity()):
            raise RuntimeError("stopped")
    assert not logits.requires_grad
    assert torch.equal(logits, plain(input_ids=ids).logits)
    assert all(module.training for module in adapted.modules())
    for name, weight in adapted.named_parameters():
        assert weight.requires_grad == before[name][0], name
        assert torch.equal(weight, before[name][1])
    assert not torch.equal(adapted.eval()(input_ids=ids).logits, logits)


def test_gradients_of_feature_l2_reach_the_adapters_only():
    _, adapted = adapted_pair()
    samples = random_samples()
    constraint = FeatureL2(torch.nn.Identity(), [0, 2], "block_output", "all")
    ConstrainedLoss(adapted.train(), constraint)(samples.collate(INDICES), None, True)[1].backward()
    for name, weight in adapted.named_parameters():
        assert (weight.grad is not None) == ("lora_" in name), name


# --- sdp --------------------------------------------------------------------------------------------------------------


def test_sdp_separates_refusing_from_compliant_responses_at_the_end_of_turn(chat_tokenizer):
    model = tiny_llama(max_position_embeddings=256)
    prompts = PROMPTS[0][:3]
    unit, separation = response_direction(model, chat_tokenizer, prompts, "sorry", "sure thing")
    states = {}
    for response in ("sorry", "sure thing"):
        rows = []
        for prompt in prompts:
            turns = [{"role": "user", "content": prompt}]
            text = chat_tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ids = chat_tokenizer(text + response + "<|im_end|>", return_tensors="pt").input_ids
            with torch.no_grad():
                rows.append(model(input_ids=ids, output_hidden_states=True).hidden_states[2][0, -1])
        states[response] = torch.stack(rows).mean(0)
    difference = states["sorry"] - states["sure thing"]
    torch.testing.assert_close(unit[1], difference / difference.norm(), rtol=1e-4, atol=1e-5)
    assert separation[1].item() == pytest.approx(difference.norm().item(), rel=1e-4)


def test_sdp_is_the_mean_over_layers_of_squared_displacements(chat_tokenizer):
    config = SdpConstraint(layers=[0, 1])
    initial = initial_of(chat_tokenizer, max_position_embeddings=256)
    made = build_constraint(config, random_direction(), CPU, initial)
    made.units = made.units.double()
    current, samples = moved(copy.deepcopy(initial.model)), random_samples()
    config = config.model_copy()
    object.__setattr__(config, "site", "block_output")
    changes = [
        torch.cat([state_changes(initial.model, current, samples, i, config, layer + 1) for i in INDICES])
        @ made.wants.unit[layer].double()
        for layer in (0, 1)
    ]
    expected = sum(change.square().mean().item() for change in changes) / 2
    made.wants = type(made.wants)(made.wants.unit.double(), "response")
    assert penalty_by_hooks(made, initial.model, current, samples, INDICES) == pytest.approx(expected, rel=1e-6)
    assert config.alpha == 0.5


# --- random_direction -------------------------------------------------------------------------------------------------


def test_random_directions_are_unit_seeded_and_nothing_like_each_other():
    unit = random_units(3, 512, 0)
    assert unit.norm(dim=-1).tolist() == pytest.approx([1, 1, 1])
    assert torch.equal(unit, random_units(3, 512, 0))
    assert (unit * random_units(3, 512, 1)).sum(-1).abs().max() < 0.2
    assert (unit[0] @ unit[1]).abs() < 0.2


def test_random_direction_is_procon_in_all_but_the_direction():
    config = RandomDirectionConstraint(alpha=0.3, layers=[0, 2], norm="squared", seed=4, tokens="all", warmup_steps=7)
    twin = real_twin(config)
    assert twin.type == "procon"
    shared = set(type(twin).model_fields) - {"type"}
    assert {name: getattr(twin, name) for name in shared} == {name: getattr(config, name) for name in shared}
    direction = random_direction()
    made, real = (build_constraint(one, direction, CPU) for one in (config, twin))
    assert torch.equal(made.units, random_units(3, 16, 4)[[0, 2]])
    assert (made.layers, made.tokens, made.measure) == (real.layers, real.tokens, real.measure)
    assert not torch.equal(made.units, real.units)


# --- anchor -----------------------------------------------------------------------------------------------------------


def test_anchor_is_the_mean_squared_error_of_what_the_head_reads_at_the_last_prompt_token():
    initial, current = tiny_llama().double(), moved(tiny_llama().double())
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
    ids, last = anchor_tokens(prompts, CPU)
    with torch.no_grad():
        constraint = Anchor(ids, last, final_states(initial, ids, last))
    errors = []
    for prompt in prompts:
        after, before = (
            model(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0, -1]
            for model in (current, initial)
        )
        errors.append((after - before).square())
    expected = torch.stack(errors).mean().item()
    # The same whatever the batch: the shares of all forward passes of a step add up to it.
    for indices, row_length in ((INDICES, None), (INDICES[:2], None), (INDICES, 24)):
        found = penalty_by_hooks(constraint, initial, current, random_samples(), indices, row_length)
        assert found == pytest.approx(expected)


def test_anchors_are_drawn_from_the_harmful_prompts(chat_tokenizer):
    initial = initial_of(chat_tokenizer, max_position_embeddings=256)
    made = build_constraint(AnchorConstraint(prompts=4), random_direction(), CPU, initial)
    assert made.ids.shape[0] == 4
    other = build_constraint(AnchorConstraint(prompts=4, seed=1), random_direction(), CPU, initial)
    assert not torch.equal(made.references, other.references)
    with pytest.raises(ModelError, match=r"constraint\.prompts \(10\) is more than the 9 harmful train prompts"):
        build_constraint(AnchorConstraint(prompts=10), random_direction(), CPU, initial)
    with pytest.raises(ModelError, match=r"constraint\.type \(anchor\) is built from the initial model"):
        build_constraint(AnchorConstraint(), random_direction(), CPU)
