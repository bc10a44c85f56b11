"""Whole trials whose answers a server writes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from benches import bench, write_files
from ranks import on_ranks
from vllm_like import VllmLike, fault

from training.config import EvaluationConfig, LoraTuning, TrialConfig, VllmGenerator
from training.data.chat import encode_prompts
from training.distributed import ranks
from training.errors import GeneratorError
from training.evaluation.generators import build_generator
from training.models.adapters import attach
from training.models.generation import generate_replies
from training.models.loading import load_model, load_tokenizer
from training.workbench import Workbench

LORA: dict[str, Any] = {
    "steps": 3,
    "batch_size": 4,
    "learning_rate": 3e-2,
    "log_every": 3,
    "tuning": {"type": "lora", "rank": 2},
    "constraint": {"alpha": 0.0},
}

pytestmark = [pytest.mark.usefixtures("process"), pytest.mark.xdist_group("ranks")]


@pytest.fixture
def directory(tmp_path, chat_tokenizer):
    write_files(tmp_path, chat_tokenizer)
    return tmp_path


def served_bench(directory: Path, generator: dict[str, Any]) -> Workbench:
    """The workbench of :mod:`benches` with a generator."""
    made = bench(directory)
    tree = made.evaluation.model_dump() | {"generator": generator}
    evaluation = EvaluationConfig.model_validate(tree)
    return Workbench(made.model_path, made.data, made.direction_config, evaluation, made.directory, name="tiny")


def answers_of(made: Workbench, settings: dict[str, Any] | None) -> list[Any]:
    """Answers and metrics of a trial."""
    trial = None if settings is None else TrialConfig.model_validate(settings)
    measured = made.run(trial, lambda _report: False)
    answers = [[row["set"], row["prompt_id"], row["answer"], row["truncated"]] for row in measured.answers]
    return [answers, measured.report.metrics]


def test_trials_measure_what_they_do_without_a_server_and_one_that_fails_ends_no_other(directory):
    with VllmLike(load_model(directory / "model")) as server:
        made = served_bench(directory, server.settings(retries=0))
        base = answers_of(made, None)
        server.script.extend([(0, {})] * 3 + [fault(500, "EngineCore encountered an issue.")] * 99)
        with pytest.raises(GeneratorError, match="EngineCore encountered an issue"):
            answers_of(made, LORA)
        server.script.clear()
        trained = answers_of(made, LORA)
        loaded = [body for path, body in server.asked if path.endswith("/load_lora_adapter")]
    assert len({body["lora_name"] for body in loaded}) == 2
    assert {Path(body["lora_path"]).parent for body in loaded} == {directory / "out" / "served"}
    assert not list((directory / "out" / "served").iterdir())
    made._measuring.generator = None
    assert [base, trained] == [answers_of(made, None), answers_of(made, LORA)]
    assert base[0] != trained[0]


def replies_of(argument: dict[str, Any]) -> list[str]:
    """What a rank gets for a model with adapters, and what it asked for."""
    tokenizer = load_tokenizer(Path(argument["directory"]) / "model")
    prompts = encode_prompts(tokenizer, [f"please bake bread {number}" for number in range(7)])
    model = load_model(Path(argument["directory"]) / "model")
    config = VllmGenerator.model_validate(argument["generator"])

    def save(adapted: Any, folder: Path) -> None:
        ranks.from_rank_zero(lambda: adapted.save_pretrained(folder))

    generator = build_generator(config, Path(argument["directory"]) / "served", save)
    assert generator is not None
    generator.check(model, tokenizer, prompts, 4, "one")
    adapted = attach(model, LoraTuning(rank=2), seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    found = generator.replies(adapted, tokenizer, prompts, [[] for _ in prompts], 4)
    own = generate_replies(adapted, tokenizer, prompts, max_new_tokens=4, batch_size=7)
    assert found == own
    return [reply.answer for reply in found]


def test_two_ranks_share_the_answers_and_load_once(directory):
    with VllmLike(load_model(directory / "model")) as server:
        first, second = on_ranks(2, replies_of, {"directory": str(directory), "generator": server.settings()})
        asked = [body["prompt"] for _, body in server.asked if "return_token_ids" in body and body["model"] != "base"]
        assert server.paths().count("load_lora_adapter") == server.paths().count("unload_lora_adapter") == 1
    assert first == second
    assert len(asked) == 7  # no rank asks for another's share


def trials_of(argument: dict[str, Any]) -> list[Any]:
    """Answers and metrics of every trial."""
    made = served_bench(Path(argument["directory"]), argument["generator"])
    return [answers_of(made, settings) for settings in argument["trials"]]


@pytest.mark.slow
def test_two_sharded_ranks_measure_what_one_does(directory):
    with VllmLike(load_model(directory / "model")) as server:
        sharded = {**LORA, "deepspeed": {"zero_stage": 3}}
        argument = {"directory": str(directory), "generator": server.settings(), "trials": [LORA, sharded]}
        first, second = on_ranks(2, trials_of, argument)
        assert server.paths().count("load_lora_adapter") == server.paths().count("unload_lora_adapter") == 2
    (own,) = trials_of({**argument, "generator": {"type": "transformers"}, "trials": [LORA]})
    assert first == second
    assert [answers for answers, _ in first] == [own[0]] * 2


def test_what_a_server_cannot_answer_for_is_refused_before_training(directory):
    def never(_report):
        raise AssertionError("a step was made")

    other = load_model(directory / "model")
    other.model.layers[1].mlp.down_proj.weight.data.zero_()
    with VllmLike(other) as server:
        made = served_bench(directory, server.settings())
        with pytest.raises(GeneratorError, match="serves another model than the one in training"):
            made.run(TrialConfig.model_validate(LORA), never)
        full = TrialConfig.model_validate({**LORA, "tuning": {"type": "full"}})
        with pytest.raises(GeneratorError, match=r"trial\.tuning\.type \(full\) trains none: write transformers"):
            made.run(full, never)
