"""What Ray reserves for a slot's workers, and what they are told."""

from datetime import date
from pathlib import Path

import pytest
from small_sweeps import small_sweep

from orchestrator.slots.setup import SlotSetup
from orchestrator.slots.slot import Slots, worker_resources
from sweeps.schema.resources import ResourcesConfig
from sweeps.schema.spec import SweepSpec


@pytest.mark.parametrize(
    ("resources", "reserved"),
    [({}, {"CPU": 1.0}), ({"cpus_per_worker": 0.5, "gpus_per_worker": 0.25}, {"CPU": 0.5, "GPU": 0.25})],
)
def test_a_worker_reserves_gpus_only_where_it_has_some(resources: dict[str, float], reserved: dict[str, float]) -> None:
    assert worker_resources(ResourcesConfig.model_validate(resources)) == reserved


def test_every_worker_of_a_slot_is_told_the_same_of_the_specification(tmp_path: Path) -> None:
    spec = SweepSpec.model_validate(small_sweep(trial={"precision": "bf16", "steps": 4}, resources={"slot_timeout": 7}))
    day = date(2024, 2, 9)
    slots = Slots(None, "broker", "here", spec, tmp_path, 3, day)
    assert slots.setup(2) == SlotSetup(
        2, "broker", "here", tmp_path, spec.data, spec.direction, spec.evaluation, spec.trial, day, 7.0
    )
