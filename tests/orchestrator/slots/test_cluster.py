import pytest

from orchestrator.errors import ClusterError
from orchestrator.slots.cluster import connect, slots_that_fit
from sweeps.schema.resources import ResourcesConfig


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


@pytest.mark.parametrize(("failures", "comes_up"), [(2, True), (3, False)])
def test_a_local_ray_that_is_too_slow_to_start_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, comes_up: bool
) -> None:
    """Ray's own words where its processes need more than 30 s; a machine that busy cannot be had on demand."""
    tries: list[str] = []

    def init(address: str, **_: object) -> None:
        tries.append(address)
        if len(tries) <= failures:
            raise Exception("The current node timed out during startup. This could happen because …")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("orchestrator.slots.cluster.DRIVER_ENVIRONMENT", {})  # it would stay with the tests that follow
    if comes_up:
        connect(None, "test", gpus=True)
    else:
        with pytest.raises(ClusterError, match=r"no local Ray could be started: .*timed out.*procon doctor"):
            connect(None, "test", gpus=True)
    assert tries == ["local"] * 3
