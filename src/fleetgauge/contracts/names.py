"""Names that Elasticsearch takes for another one, or for its own: they would give a field a second value.

It reads `"a.b"` as `"a": {"b": …}`, and a name that ends with dots as if it ended without. Spellings of described paths
with dots between names are refused by the types; here is what no list of names can say.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fleetgauge.contracts.subset import Array, Node, Object

SPECIAL = frozenset({"_doc_count", "_feature", "_inference_fields", "_size", "_ts_routing_hash", "_tsid", "_type"})
"""Names that mean something to Elasticsearch, in this or another kind of index, and that it lets a document hold at its
top. It refuses its others (`_id`, `_source`, …) by itself, and keeps those that mean nothing to it."""


def check_names(node: Object, event: Mapping[str, Any]) -> None:
    """Raise `msgspec.ValidationError` if `event`, which is valid but for its names, has one that must not be there."""
    if special := SPECIAL & {key.partition(".")[0] for key in event}:
        raise msgspec.ValidationError(f"`{min(special)}` is a name of Elasticsearch's own")
    _check(node, event, "$")


def _check(node: Node, value: Any, at: str) -> None:
    if isinstance(node, Array):
        for item in value:
            _check(node.items, item, f"{at}[...]")
    elif isinstance(node, Object):
        for key, child in value.items():
            if key in node.properties:
                _check(node.properties[key], child, f"{at}.{key}")
            elif key.endswith(".") and key.strip("."):
                raise msgspec.ValidationError(
                    f"`{key}` ends with a dot, and would be read as `{key.rstrip('.')}` - at `{at}`"
                )
