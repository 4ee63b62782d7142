"""Daily indices `<prefix>-YYYY.MM.DD`: one holds the events of a UTC day, by event time."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any


def without(indices: Collection[str], query: dict[str, Any]) -> dict[str, Any]:
    """The same query, of all other indices; which shards those are is decided by names, at no cost."""
    if not indices:
        return query
    return {"bool": {"filter": [query], "must_not": [{"terms": {"_index": sorted(indices)}}]}}


def day_of(index: str, prefix: str) -> datetime | None:
    """When the day begins that the index holds; None for an index that is no day of this prefix."""
    match = re.fullmatch(rf"{re.escape(prefix)}-([0-9]{{4}}\.[0-9]{{2}}\.[0-9]{{2}})", index)
    try:
        return datetime.strptime(match[1], "%Y.%m.%d").replace(tzinfo=UTC) if match else None
    except ValueError:  # looks like a day and is none
        return None
