"""The version of a definition: a hash of whatever changes its numbers. Another version has tables of its own.

Every field of a definition stands in one of the two lists below, by the path of its key (`*` is any name). A new field
belongs to the version until somebody has thought about it, and a test fails until it is classified.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlglot.dialects import Dialect

from fleetgauge.rollup.labels import FORMAT

VERSIONED = frozenset(
    {
        "source",
        "source_sql",
        "dialect",
        "datetime_offset",
        "documents.where",
        "event_time",
        "change_time",
        "key",
        "time_zone",
        "grace",
        "late",
        "accepts",
        "interval.longest",
        "interval.until",
        "interval.until_next_of",
        "interval.then_by",
        "interval.known_within",
        "rollups",
        "grains",
        "dimensions.*.column",
        "dimensions.*.limit",
        "dimensions.*.tile",
        "measures.*.agg",
        "measures.*.of",
        "measures.*.type",
        "measures.*.where",
        "measures.*.personal",
        "distinct_key",
    }
)
"""What changes numbers, when they become final, or which facts are found again after they have changed."""

UNVERSIONED: Mapping[str, str] = {
    "metric": "is the name of what has versions",
    "dimensions.*.description": "is for readers",
    "measures.*.description": "is for readers",
    "measures.*.label": "is for readers",
    "measures.*.unit": "is for readers: it says what a number is counted in, and converts nothing",
    "measures.*.numerator": "a ratio is divided by the view, for every version alike",
    "measures.*.denominator": "a ratio is divided by the view, for every version alike",
    "provisional_while": "is asked by the view, for every version alike",
    "immutable": "is a statement about the source",
    "source_kept": "says from when on numbers stay as they are; changes none",
    "checks": "decide whether new rows may replace old ones, from the next run on",
    "retention": "how long rows are kept changes none of them",
    "freshness": "is when somebody is told",
    "privacy": "is what views keep back of the numbers that are stored",
    "views_sql": "views of its own, made anew by each migration",
    "export": "is what Prometheus is told of the numbers that are stored",
    "description": "is for readers",
    "owner": "is for readers",
    "lines": "where keys stand in the file",
}
"""What does not, and why."""


def fingerprint(plain: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits. `plain`: the definition as JSON values, without the fields that have their default."""
    shape = {name: value for name, value in plain.items() if name not in UNVERSIONED}
    shape["source_sql"] = _tokens(shape.get("source_sql", ""), shape.get("dialect", "postgres"))
    shape["dimensions"] = {
        name: {**_without(one), "labels": FORMAT} for name, one in shape.get("dimensions", {}).items()
    }
    shape["measures"] = {
        name: _measure(one, keyed="distinct_key" in shape)
        for name, one in shape["measures"].items()
        if one["agg"] != "ratio"
    }
    text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _measure(plain: Mapping[str, Any], *, keyed: bool) -> dict[str, Any]:
    # The sketches of a distinct were arrays before, which do not merge with these. Where no fingerprint has a key, it
    # changes none of them whether they stand for persons.
    found = _without(plain) | ({"sketch": "bits"} if plain["agg"] == "distinct" else {})
    return {name: value for name, value in found.items() if keyed or name != "personal"}


def _without(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name not in ("description", "label", "unit")}


def _tokens(text: str, dialect: str) -> str:
    """SQL without comments and layout: a remark must not make a new version."""
    marks = {"STRING": "'", "IDENTIFIER": '"'}
    return " ".join(marks.get(t.token_type.name, "") + t.text for t in Dialect.get_or_raise(dialect).tokenize(text))
