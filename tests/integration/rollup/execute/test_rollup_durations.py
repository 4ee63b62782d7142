"""Durations equal a plain computation from all rows, however late and in whatever order these come."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rollup_world import World, definition, window_start

from fleetgauge.rollup import Definition

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
BEGIN = NOW - timedelta(hours=7)
LONGEST = timedelta(hours=2)
SHAPE: dict[str, Any] = {
    "event_time": "at",
    "dimensions": {"zone": {"column": "zone", "limit": 8}},
    "rollups": {"total": []},
}
MEASURES = {
    "rows": {"agg": "count"},
    "held": {"agg": "duration"},
    "riding": {"agg": "duration", "where": {"state": "on_trip"}},
    "share": {"agg": "ratio", "numerator": "riding", "denominator": "held"},
}
BY_COLUMN = definition(
    "by_column",
    **SHAPE,
    measures=MEASURES,
    interval={"until": "until", "longest": "2h", "known_within": "30m"},
    source_sql="SELECT at, until, zone, state, changed_at FROM stays",
)
BY_NEXT = definition(
    "by_next",
    **SHAPE,
    measures={n: m for n, m in MEASURES.items() if n != "rows"},
    interval={"until_next_of": "vehicle", "then_by": "id", "longest": "2h"},
    source_sql="SELECT id, vehicle, at, zone, state, changed_at FROM stays",
)
STAYS = """
CREATE TABLE stays (
    id bigserial PRIMARY KEY, vehicle integer NOT NULL, state text NOT NULL, zone text, at timestamptz NOT NULL,
    until timestamptz, changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON stays (at);
CREATE INDEX ON stays (vehicle, at);
GRANT SELECT ON stays TO fleetgauge_reader;
"""
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@pytest.fixture(scope="module", autouse=True)
def tables(world: World) -> Iterator[None]:
    world.app.execute(STAYS)
    world.catch_up()
    world.migrate(BY_COLUMN, BY_NEXT)
    yield


def seconds() -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 5 * 3600), st.integers(0, 5 * 60).map(lambda m: 60 * m))


STAY = st.tuples(
    st.just("stay"),
    st.integers(1, 2),
    st.sampled_from(["on_trip", "available"]),
    st.sampled_from(["a", "b", None]),
    seconds(),
    st.one_of(st.none(), st.integers(0, 3 * 3600)),
)
STEPS = st.lists(
    st.one_of(STAY, STAY, STAY, st.tuples(st.just("end"), st.integers(0, 20), seconds()), st.tuples(st.just("run"))),
    min_size=3,
    max_size=14,
)


@pytest.mark.parametrize("one", [BY_COLUMN, BY_NEXT], ids=["by-column", "by-next"])
@pytest.mark.parametrize("examples", [6, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_seconds_in_each_window_equal_a_plain_computation(world: World, one: Definition, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(steps=STEPS)
    def law(steps: list[Any]) -> None:
        world.forget(one)
        world.app.execute("TRUNCATE stays")
        _run(world, one)
        for step in steps:
            match step:
                case ("stay", vehicle, state, zone, offset, length):
                    at = BEGIN + timedelta(seconds=offset, milliseconds=offset % 1000)
                    until = None if length is None else at + timedelta(seconds=length)
                    world.app.execute(
                        "INSERT INTO stays (vehicle, state, zone, at, until) VALUES (%s, %s, %s, %s, %s)",
                        [vehicle, state, zone, at, until],
                    )
                case ("end", which, offset):  # known soon, or long after it happened
                    world.app.execute(
                        "UPDATE stays SET until = greatest(at, %s), state = 'on_trip', changed_at = now() WHERE id ="
                        " (SELECT id FROM stays WHERE until IS NULL ORDER BY id OFFSET %s LIMIT 1)",
                        [BEGIN + timedelta(seconds=offset) if offset % 2 else NOW - timedelta(minutes=25), which % 3],
                    )
                case ("run",):
                    _run(world, one)
                    _compare(world, one)
        _run(world, one)
        _compare(world, one)

    law()


@pytest.mark.parametrize(
    ("one", "ended"),
    [
        (BY_COLUMN, "UPDATE stays SET until = %(at)s, changed_at = %(change)s"),
        (BY_NEXT, "INSERT INTO stays (vehicle, state, at, changed_at) VALUES (1, 'available', %(at)s, %(change)s)"),
    ],
    ids=["by-column", "by-next"],
)
def test_an_end_by_a_clock_that_lags_takes_back_what_has_counted_since(
    world: World, one: Definition, ended: str
) -> None:
    """It counted up to the last run, minutes after the time at which it is said to have been changed."""
    world.forget(one)
    world.app.execute("TRUNCATE stays")
    now = datetime.now(UTC)
    world.app.execute(
        "INSERT INTO stays (vehicle, state, at, changed_at) VALUES (1, 'on_trip', %(at)s, %(at)s)",
        {"at": now - timedelta(minutes=90)},
    )
    _run(world, one)
    world.app.execute(ended.encode(), {"at": now - timedelta(minutes=60), "change": now - timedelta(minutes=8)})
    _run(world, one)
    _compare(world, one)


def _run(world: World, one: Definition) -> None:
    world.beat()
    world.catch_up()
    report = world.run(one)
    assert report.error is None, report.error


def _compare(world: World, one: Definition) -> None:
    (done,) = world.metrics.execute(
        "SELECT upper(done) FROM fleetgauge.ledger WHERE metric = %s AND grain = 'minute'", [one.metric]
    ).fetchone()
    for level in one.levels:
        stored = {key: row[-2:] for key, row in world.stored(one, level).items() if any(row[-2:])}
        assert stored == _expected(world, one, level.grain, level.dimensions, done), level.name


def _expected(
    world: World, one: Definition, grain: str, dimensions: tuple[str, ...], frontier: datetime
) -> dict[tuple[Any, ...], tuple[Decimal, Decimal]]:
    """Second by second of nothing but the rows: each minute's overlap with each interval, added up."""
    rows = world.app.execute("SELECT id, vehicle, state, coalesce(zone, '(not set)'), at, until FROM stays").fetchall()
    found: dict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for number, vehicle, state, zone, at, until in rows:
        if one is BY_NEXT:
            later = [(r[4], r[0]) for r in rows if r[1] == vehicle and (r[4], r[0]) > (at, number)]
            until = min(later)[0] if later else None
        end = min(at + LONGEST, frontier, *([until] if until is not None else []))
        minute = at.replace(second=0, microsecond=0)
        while minute < end:
            overlap = min(end, minute + timedelta(minutes=1)) - max(at, minute)
            start = window_start(minute.astimezone(UTC), grain, one.time_zone)
            cell = found[start, *([zone] if dimensions else [])]
            cell[0] += Decimal(overlap // timedelta(microseconds=1)) / 1_000_000
            if state == "on_trip":
                cell[1] += Decimal(overlap // timedelta(microseconds=1)) / 1_000_000
            minute += timedelta(minutes=1)
    return {key: (total, riding) for key, (total, riding) in found.items() if total or riding}
