"""The JSON schema of ``front.json``, for scripts that read it."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.front.schema.document import FrontDocument


class _AsWritten(GenerateJsonSchema):
    """Every key that is not left out is required, and a key that is left out is never null."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return field.get("serialization_exclude_if") is None

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = schema["schema"]
        return self.generate_inner(inner["schema"] if inner["type"] == "nullable" else inner)

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the documents that this version writes."""
    return FrontDocument.model_json_schema(mode="serialization", schema_generator=_AsWritten)
