"""How wide the points of a chart are: never more than 200 of them, and of enough events where that leaves a course."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from dashboards.buckets import EVENTS, FEWEST_POINTS, POINTS, STEPS, bucket_variable, sample_variable
from dashboards.queries import expand

TO = datetime(2025, 6, 1, 3, 21, tzinfo=UTC)
SPANS = {
    timedelta(minutes=15): "minute",
    timedelta(hours=1): "minute",
    timedelta(hours=12): "minute",
    timedelta(hours=48, minutes=30): "minute",
    timedelta(days=1): "hour",
    timedelta(days=7): "hour",
    timedelta(days=31, hours=12): "hour",
    timedelta(days=92): "hour",
    timedelta(days=184): "day",
    timedelta(days=3650): "day",
}
MINUTES = dict(STEPS)
FINEST = {"minute": 1, "hour": 60, "day": 1440}


def chosen(sql: str, span: timedelta, grain: str, wish: str = "auto") -> str:
    known = {name: {"current": {"value": value}} for name, value in (("grain", grain), ("resolution", wish))}
    with closing(sqlite3.connect(":memory:")) as connection:
        ((bucket,),) = connection.execute(expand(sql, known, {}, TO - span, TO)).fetchall()
    return str(bucket)


def query(events: int | None = None) -> str:
    made = (bucket_variable() if events is None else sample_variable(f"SELECT {events} AS n")).build()
    assert isinstance(made.query, str)
    return made.query


@pytest.mark.parametrize(("span", "grain"), SPANS.items(), ids=str)
def test_no_chart_has_more_points_than_can_be_seen(span: timedelta, grain: str) -> None:
    for sql in (query(), *(query(events) for events in (0, 100, 10**9))):
        bucket = chosen(sql, span, grain)
        width = timedelta(minutes=MINUTES[bucket])
        assert span / width + 2 <= POINTS, bucket  # wherever the range begins within a bucket
        assert MINUTES[bucket] >= FINEST[grain]
    narrowest = MINUTES[chosen(query(), span, grain)]
    assert chosen(query(10**9), span, grain) == chosen(query(), span, grain), "with many events nothing is merged"
    finer = [minutes for minutes in MINUTES.values() if FINEST[grain] <= minutes < narrowest]
    assert all(span / timedelta(minutes=minutes) + 2 > POINTS for minutes in finer), "no wider than it must be"


@pytest.mark.parametrize(("span", "grain"), SPANS.items(), ids=str)
@pytest.mark.parametrize("events", [0, 50, 400, 3_000, 100_000])
def test_a_share_has_thirty_events_a_point_or_few_points(span: timedelta, grain: str, events: int) -> None:
    bucket = chosen(query(events), span, grain)
    points = span / timedelta(minutes=MINUTES[bucket])
    assert events / points >= EVENTS or points <= FEWEST_POINTS or bucket == STEPS[-1][0]
    assert chosen(query(events), span, grain, wish=grain) == chosen(query(), span, grain), "what is wished is given"


def test_steps_part_each_other_so_that_buckets_end_with_days() -> None:
    for (_, narrow), (_, wide) in pairwise(STEPS):
        assert narrow < wide
    assert all(1440 % minutes == 0 for _, minutes in STEPS if minutes <= 1440)
