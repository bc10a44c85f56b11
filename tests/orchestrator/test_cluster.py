import pytest

from orchestrator.cluster import slots_that_fit
from sweeps.spec import ResourcesConfig


@pytest.mark.parametrize(
    ("nodes", "resources", "slots"),
    [
        ([{"CPU": 2}], {}, 2),
        ([{"CPU": 2}], {"workers": 2}, 1),
        ([{"CPU": 2}], {"workers": 3}, 0),
        ([{"CPU": 1}, {"CPU": 1}], {"workers": 2}, 1),
        ([{"CPU": 1.99}], {"workers": 2}, 0),
        ([{"CPU": 3}, {"CPU": 3}], {"cpus_per_worker": 2}, 2),  # no worker spans two nodes
        ([{"CPU": 8}], {"gpus_per_worker": 1}, 0),
        ([{"CPU": 8}, {"CPU": 64, "GPU": 8}], {"workers": 4, "gpus_per_worker": 1, "cpus_per_worker": 4}, 2),
        ([{"CPU": 8, "GPU": 8}], {"workers": 2, "gpus_per_worker": 1, "cpus_per_worker": 2}, 2),
        ([{"CPU": 4, "GPU": 1}], {"gpus_per_worker": 0.5}, 2),
        ([], {}, 0),
    ],
)
def test_slots_that_fit(nodes: list[dict[str, float]], resources: dict[str, float], slots: int) -> None:
    assert slots_that_fit(nodes, ResourcesConfig.model_validate(resources)) == slots
