"""What a dashboard promises at any range, with and without filters: few points, of the right grain."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dashboard_world import Filled
from dashboards.buckets import POINTS, STEPS
from dashboards.queries import dashboard_queries, settled

ROOT = Path(__file__).parents[3]
DASHBOARDS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((ROOT / "dashboards" / "generated").glob("fleetgauge-*.json"))
}
SPANS = {
    "minute": timedelta(hours=1),
    "hour": timedelta(days=1),
    "hours": timedelta(days=30),
    "day": timedelta(days=180),
}


@pytest.fixture
def grafana(filled: Filled) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(filled.grafana_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("uid", DASHBOARDS)
@pytest.mark.parametrize("span", SPANS, ids=str)
def test_few_points_of_the_right_grain(grafana: psycopg.Connection[Any], filled: Filled, uid: str, span: str) -> None:
    dashboard, until = DASHBOARDS[uid], filled.now
    since = until - SPANS[span]

    def ask(sql: str) -> str:
        row = grafana.execute(sql).fetchone()
        return "" if row is None or row[0] is None else str(row[0])

    chosen = settled(dashboard, {}, since, until, ask)
    assert chosen["grain"] == span.rstrip("s"), "minutes up to twelve hours, hours up to a month, else days"
    widths = {name: timedelta(minutes=minutes) for name, minutes in STEPS}
    assert SPANS[span] / widths[str(chosen["bucket"])] <= POINTS
    for wider, narrow in (("sample", "bucket"), ("each", "sample")):
        if wider in chosen:
            assert widths[str(chosen[wider])] >= widths[str(chosen[narrow])]
    for variables in (chosen, *narrowed(dashboard, chosen, filled, ask)):
        for query in dashboard_queries(dashboard, variables, since, until):
            if query.kind != "panel":
                continue
            cursor = grafana.execute(query.sql)
            names = [column.name for column in cursor.description or ()]
            rows = cursor.fetchall()
            if query.format == "time_series":
                points = {row[names.index("time")] for row in rows}
                assert len(points) <= POINTS, query.name


def narrowed(
    dashboard: dict[str, Any], chosen: dict[str, Any], filled: Filled, ask: Callable[[str], str]
) -> Iterator[dict[str, Any]]:
    """What a viewer sees who chose the first value of every filter; the views that are read follow."""
    filters = [one["name"] for one in dashboard["templating"]["list"] if one.get("multi")]
    if not filters:
        return
    since = filled.now - timedelta(days=3)
    queries = {one.name: one.sql for one in dashboard_queries(dashboard, {}, since, filled.now)}
    first = {name: [ask(queries[name])] for name in filters}
    kept = {name: value for name, value in chosen.items() if not name.startswith("stem")}
    yield settled(dashboard, {**kept, **first}, since, filled.now, ask)


def test_a_band_holds_its_share_and_few_events_are_told_apart(grafana: psycopg.Connection[Any], filled: Filled) -> None:
    """The failure rate of each point, from its parts in the minutes; what has fewer than 30 commands is no line."""
    dashboard = DASHBOARDS["fleetgauge-commands"]
    since = filled.now - timedelta(days=2)
    queries = {q.name: q.sql for q in dashboard_queries(dashboard, {"grain": "hour"}, since, filled.now)}
    shown = grafana.execute(queries["Failure rate per $sample"]).fetchall()
    right = {
        at: (part, whole)
        for at, part, whole in grafana.execute(
            "SELECT bucket_start, sum(unsuccessful), sum(requested)"
            " FROM metrics.device_command_range(%s, %s, 'hour') GROUP BY 1",
            [since, filled.now],
        )
    }
    lines = points = 0
    for at, line, provisional, few, low, high in shown:
        part, whole = right.pop(at)
        drawn = few if whole < 30 else provisional if line is None else line
        assert drawn == pytest.approx(float(part / whole))
        if low is None:  # a provisional point has no band
            assert (line, high) == (None, None)
        else:
            assert 0 <= low <= drawn <= high <= 1
        assert (whole < 30) == (few is not None) and not (few is not None and line is not None)
        lines, points = lines + (line is not None), points + (few is not None)
    assert not right and lines > 10 and points > 0, (lines, points)
