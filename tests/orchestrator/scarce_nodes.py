"""Ray's provider of nodes that are all on this machine, which runs out of them; Ray's monitor imports it by name."""

from pathlib import Path
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException


class ScarceNodes(FakeMultiNodeProvider):  # type: ignore[misc]
    """Has as many as the file ``stock`` says, read whenever one is asked for."""

    def create_node_with_resources_and_labels(self, *arguments: Any, **named: Any) -> None:
        """Start them, or say what a cloud without capacity says."""
        there = len(self.non_terminated_nodes({})) - 1
        if there >= int(Path(self.provider_config["stock"]).read_text()):
            raise NodeLaunchException("InsufficientInstanceCapacity", "none can be had at the moment", None)
        super().create_node_with_resources_and_labels(*arguments, **named)
