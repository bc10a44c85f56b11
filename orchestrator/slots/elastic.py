"""Slots that go on with fewer workers after a loss: Ray Train's elastic groups, in sizes that share a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray._private.state import state
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy

NEVER = 1e9
"""Seconds between two looks whether a group that works could be larger: a change ends it, in the middle of a trial.
Between two trials the workers look themselves."""


class SizesPolicy(ElasticScalingPolicy):  # type: ignore[misc]
    """Takes the largest of given sizes that there are places for, on nodes that stay.

    Args:
        scaling_config: with the smallest and the largest size.
        sizes: that a group may have.
    """

    def __init__(self, scaling_config: Any, sizes: Sequence[int]) -> None:
        super().__init__(scaling_config)
        self._sizes = sizes

    def _count_possible_workers(self, reserved_resources: Mapping[str, Any]) -> int:
        leaving = state.get_draining_nodes()
        staying = {node: there for node, there in reserved_resources.items() if node not in leaving}
        possible = super()._count_possible_workers(staying)
        return max((size for size in self._sizes if size <= possible), default=0)


class ElasticTrainer(TorchTrainer):  # type: ignore[misc]
    """Ray's trainer with :class:`SizesPolicy`; it takes none of one's own.

    Args:
        sizes: that a group may have.
        given: as for Ray's.
    """

    def __init__(self, *, sizes: Sequence[int], **given: Any) -> None:
        super().__init__(**given)
        self._sizes = sizes

    def _initialize_and_run_controller(self, **given: Any) -> Any:
        given["scaling_policy"] = SizesPolicy(self.scaling_config, self._sizes)
        return super()._initialize_and_run_controller(**given)
