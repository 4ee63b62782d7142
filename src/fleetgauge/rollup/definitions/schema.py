"""The JSON Schema of metric.yaml, made of the types that the engine parses it into, for editors and reviewers.

It knows structure alone: names, kinds, patterns, ranges. What fits together, and source.sql, only the loader knows.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.validation_messages import IN_FILES, OUTSIDE

FILE = Path("schemas") / "metric.schema.json"
"""Where it lies below the content."""


class _Plain(GenerateJsonSchema):
    """Without defaults and titles, which would say things in Python's words."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def metric_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of metric.yaml."""
    found: dict[str, Any] = TypeAdapter(Definition).json_schema(schema_generator=_Plain, mode="validation")
    for name in (*sorted(IN_FILES), *OUTSIDE):
        del found["properties"][name]
    _tidy(found)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "metric.yaml"}


def text() -> str:
    """The file's text."""
    return json.dumps(metric_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(node: Any) -> None:
    """Docstrings on one line; keys that fit no pattern are refused, as the loader does; no words of other tools."""
    if isinstance(node, list):
        for one in node:
            _tidy(one)
    if not isinstance(node, dict):
        return
    if "patternProperties" in node:
        node["additionalProperties"] = False
    if isinstance(node.get("description"), str):
        node["description"] = " ".join(node["description"].split())
    if isinstance(node.get("title"), str):
        del node["title"]
    if isinstance(node.get("discriminator"), dict):
        del node["discriminator"]
    choices = node.get("anyOf", [])
    if choices and all(set(one) == {"type"} for one in choices):
        node["type"] = [one["type"] for one in node.pop("anyOf")]
    for one in node.values():
        _tidy(one)
