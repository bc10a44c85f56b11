"""What the driver sends to slots arrives as it was: the configuration models themselves, pickled as Ray does it."""

import json
from datetime import date
from pathlib import Path

import pytest
from ray import cloudpickle

from orchestrator.search.proposal import Proposal
from orchestrator.slots.messages import Job
from orchestrator.slots.setup import SlotSetup
from sweeps.schema.load import load_spec
from sweeps.schema.spec_files import preset_names
from sweeps.space.unions import blocks_with_types
from training.config import ModelConfig, TrialConfig

BLOCKS = [(block, name) for block, members in blocks_with_types(TrialConfig).items() for name in members]
REQUIRED = {"freeze_layers": {"layers": [0, 2]}}
MODEL = ModelConfig(name="m", path="some/model", chat_template_kwargs={"flags": {"deep": [1, 2.5, None]}})


def arrived(sent: object) -> object:
    return cloudpickle.loads(cloudpickle.dumps(sent))


def trial_of(block: str, name: str) -> TrialConfig:
    members = blocks_with_types(TrialConfig)[block]
    given = {key: value for key, value in REQUIRED.get(name, {}).items() if key in members[name].model_fields}
    return TrialConfig.model_validate({block: {"type": name, **given}, "learning_rate": 1e-3, "seed": 3})


@pytest.mark.parametrize(("block", "name"), BLOCKS)
def test_a_job_arrives_with_the_types_of_its_blocks(block: str, name: str) -> None:
    job = Job("m-0", MODEL, trial_of(block, name), rungs=(2, 5))
    there = arrived(job)
    assert there == job
    assert isinstance(there, Job)
    assert there.model in [MODEL], "what a model that cannot be prepared is known by"
    assert there.model != MODEL.model_copy(update={"reasoning": "none"})
    assert there.trial is not None
    assert type(getattr(there.trial, block)) is type(getattr(job.trial, block))


@pytest.mark.parametrize("preset", preset_names())
def test_a_setup_arrives_whole(preset: str) -> None:
    spec = load_spec(preset)
    day = date(2024, 2, 9)
    setup = SlotSetup(1, "broker", "here", Path("out"), spec.data, spec.direction, spec.evaluation, spec.trial, day)
    there = arrived(setup)
    assert there == setup
    assert isinstance(there, SlotSetup)
    assert [type(judge) for judge in there.evaluation.judges] == [type(judge) for judge in spec.evaluation.judges]


@pytest.mark.parametrize(("block", "name"), BLOCKS)
def test_the_journal_has_the_settings_that_the_job_was_given(block: str, name: str) -> None:
    trial = trial_of(block, name)
    proposal = Proposal("m", "trial", "m-0", {}, Job("m-0", MODEL, trial))
    line = json.dumps(proposal.settings, allow_nan=False)
    assert TrialConfig.model_validate(json.loads(line)) == trial
    assert json.loads(line).keys() == TrialConfig.model_fields.keys()
    assert proposal.seed == 3
    assert Proposal("m", "reference", "base", {}, Job("m-base", MODEL, None)).settings is None
