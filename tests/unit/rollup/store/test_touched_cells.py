"""Which cells of a level hold some minute cells: what its statements are told."""

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from fleetgauge.rollup import Definition
from fleetgauge.rollup.store.cell_sql import touched

ONE: Definition = TypeAdapter(Definition).validate_python(
    {
        "metric": "ride",
        "source": "operations",
        "event_time": "at",
        "change_time": "changed_at",
        "time_zone": "Asia/Seoul",
        "dimensions": {"zone": {"column": "zone", "limit": 16}, "kind": {"column": "kind", "limit": 16}},
        "measures": {"n": {"agg": "count"}},
        "rollups": {"by_kind": ["kind"], "total": []},
        "source_sql": "SELECT * FROM rides",
    }
)


def _at(hour: int, minute: int = 0, day: int = 3) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


CELLS = [
    (_at(14, 58), ("Mapo", "S2")),
    (_at(14, 59), ("Mapo", "S2")),
    (_at(14, 59), ("Jung", "S2")),
    (_at(15, 0), ("Mapo", "S2")),  # midnight in Seoul
]


def _of(level: str) -> dict[str, list[Any]]:
    """The parameters, read as Postgres reads them; none of these values needs a quote within."""
    count, values = touched(ONE, next(one for one in ONE.levels if one.name == level), CELLS)
    found = {name: [part.strip('"') for part in text.strip("{}").split(",")] for name, text in values.items()}
    assert {len(column) for column in found.values()} == {count}
    return {n: [datetime.fromisoformat(v) for v in c] if n in ("starts", "ends") else c for n, c in found.items()}


def test_minutes_are_the_cells_themselves() -> None:
    assert _of("minute") == {
        "starts": [window for window, _ in CELLS],
        "ends": [_at(14, 59), _at(15), _at(15), _at(15, 1)],
        "values_0": ["Mapo", "Mapo", "Jung", "Mapo"],
        "values_1": ["S2"] * 4,
    }


def test_cells_above_are_there_once() -> None:
    assert _of("hour") == {
        "starts": [_at(14), _at(14), _at(15)],
        "ends": [_at(15), _at(15), _at(16)],
        "values_0": ["Mapo", "Jung", "Mapo"],
        "values_1": ["S2"] * 3,
    }


def test_days_are_those_of_the_zone() -> None:
    days = _of("by_kind_day")
    assert days == {"starts": [_at(15, day=2), _at(15)], "ends": [_at(15), _at(15, day=4)], "values_0": ["S2", "S2"]}
    assert _of("total_day") == {"starts": days["starts"], "ends": days["ends"]}
