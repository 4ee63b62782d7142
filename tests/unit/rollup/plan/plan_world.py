"""A definition, and instants, for tests of planning."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.parts import Dimension

BASE = datetime(2026, 11, 1, 3, tzinfo=UTC)  # around it, New York sets its clocks back
DAY = timedelta(days=1)


def metric_of_plans(**changes: Any) -> Definition:
    found = {
        "metric": "m",
        "source": "s",
        "event_time": "t",
        "measures": {"n": {"agg": "count"}},
        "source_sql": "SELECT 1",
        "change_time": "c",
        "grace": timedelta(seconds=30),
        "dimensions": {"a": Dimension(column="a", limit=3), "b": Dimension(column="b", limit=2)},
        **changes,
    }
    return Definition(**found)  # type: ignore[arg-type]
