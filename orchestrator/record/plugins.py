"""Which other packages a sweep measures or trains with."""

from orchestrator.record.spec_changes import flattened
from sweeps.schema.spec import SweepSpec
from training.config import plugin_versions


def versions_of_plugins(spec: SweepSpec) -> dict[str, str]:
    """Version of every other package whose constraint, judge or metric ``spec`` names."""
    values = flattened(spec.model_dump(mode="json")).values()
    words = [word for value in values for word in (value if isinstance(value, list) else [value])]
    return plugin_versions({word for word in words if isinstance(word, str)})
