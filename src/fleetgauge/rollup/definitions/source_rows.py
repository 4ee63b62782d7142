"""Each metric counts the rows of its source: by that count, lost rows are told from corrected ones."""

from collections.abc import Mapping
from typing import Any

SOURCE_ROWS = "source_rows"
"""The measure that a metric gets when none of its own counts all rows."""
TAKEN = f"{SOURCE_ROWS} is the name of the count of all rows; choose another name for this one"


def with_count(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What metric.yaml says, with `source_rows` last among its measures if no `count` without `where` is one of them.

    What holds no measures stays as it is, to be judged later, and so does a measure that takes the name.
    """
    measures = raw.get("measures")
    if not measures or not isinstance(measures, dict) or SOURCE_ROWS in measures:
        return dict(raw)
    if any(_counts_all(measure) for measure in measures.values()):
        return dict(raw)
    count = {
        "agg": "count",
        "label": "Source rows",
        "unit": "count",
        "description": "How many rows of the source the other numbers rest on.",
    }
    return {**raw, "measures": {**measures, SOURCE_ROWS: count}}


def takes_name(raw: Mapping[str, Any]) -> bool:
    """Whether a measure of another kind has the name."""
    measures = raw.get("measures")
    return isinstance(measures, dict) and SOURCE_ROWS in measures and not _counts_all(measures[SOURCE_ROWS])


def _counts_all(measure: object) -> bool:
    return isinstance(measure, dict) and measure.get("agg") == "count" and not measure.get("where")
