"""Every query of the dashboards, as the login of Grafana, on data that the real rollup made."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from dashboard_world import Filled
from dashboards.queries import DashboardQuery, dashboard_queries, may_be_empty, panel_queries

from fleetgauge.rollup import GRAINS, load_definitions

ROOT = Path(__file__).parents[3]
GENERATED = ROOT / "dashboards" / "generated"
DEFINITIONS = load_definitions(ROOT)
WITHOUT_DATA = {f"metric-{name}" for name, one in DEFINITIONS.items() if one.documents is not None}
"""What is read from documents, which there are none of here; the demo runs them all."""
READ = [name for name, one in DEFINITIONS.items() if one.documents is not None]
OF_DOCUMENTS = re.compile(rf"metrics\.({'|'.join(READ)}|suspect|device_silence)_")
"""Panels on them are empty here, and so are lists of their values."""
DASHBOARDS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted(GENERATED.glob("*.json"))
    if path.stem not in WITHOUT_DATA
}
RANGES = {"minute": timedelta(hours=12), "hour": timedelta(days=3), "day": timedelta(days=180)}
SLOWEST_S = 2.0
FEW = {
    "metric-rental": ["Riders: different values per $bucket"],
    "metric-rider": [f"{who} riders: different values per $bucket" for who in ("Active", "New", "Returning")],
}
"""What a minute tells of too few persons."""


@pytest.fixture(params=sorted(DASHBOARDS))
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = DASHBOARDS[request.param]
    return found


@pytest.fixture
def grafana(filled: Filled) -> Iterator[psycopg.Connection]:
    with psycopg.connect(filled.grafana_url, autocommit=True) as connection:
        yield connection


def run(connection: psycopg.Connection, query: DashboardQuery) -> tuple[list[str], list[tuple[Any, ...]]]:
    try:
        cursor = connection.execute(query.sql)
    except psycopg.Error as error:
        pytest.fail(f"{query.kind} {query.name!r} of {query.dashboard}: {error}\n{query.sql}")
    return [column.name for column in cursor.description or []], cursor.fetchall()


@pytest.mark.parametrize("grain", RANGES)
def test_every_panel_shows_data(
    dashboard: dict[str, Any], grain: str, grafana: psycopg.Connection, filled: Filled
) -> None:
    shown: dict[str, bool] = defaultdict(bool)
    documents = set()
    for query in panel_queries(dashboard, {"grain": grain}, filled.now - RANGES[grain], filled.now):
        began = time.monotonic()
        names, rows = run(grafana, query)
        if OF_DOCUMENTS.search(query.sql):
            documents.add(query.name)
        assert time.monotonic() - began < SLOWEST_S, f"{query.name} at {grain} is slow"
        values = [value for row in rows for value in row if value is not None and not isinstance(value, str | datetime)]
        shown[query.name] |= bool(values)
        if query.format == "time_series":
            times = [row[0] for row in rows]
            assert times == sorted(times), query.name
            keys = [(row[0], row[1]) for row in rows] if "metric" in names else times
            assert len(keys) == len(set(keys)), f"{query.name}: two values at one time"
    without = may_be_empty(dashboard) | documents
    empty = sorted(name for name, has in shown.items() if not has and name not in without)
    assert empty == [], f"No data at {grain} grain: {empty}"
    few = FEW.get(dashboard["uid"], [])
    assert {name: shown[name] for name in few} == dict.fromkeys(few, grain != "minute"), "of few persons nothing"


@pytest.mark.parametrize("span", [timedelta(minutes=15), timedelta(days=3), timedelta(days=180)])
def test_variables_and_shading(
    dashboard: dict[str, Any], span: timedelta, grafana: psycopg.Connection, filled: Filled
) -> None:
    grain = {15 * 60: "minute", 3 * 86400: "hour", 180 * 86400: "day"}[int(span.total_seconds())]
    own = DEFINITIONS.get(dashboard["uid"].removeprefix("metric-"))
    finest = "minute" if own is None else own.finest
    for query in dashboard_queries(dashboard, {"grain": grain, "resolution": grain}, filled.now - span, filled.now):
        if query.kind == "panel":
            continue
        names, rows = run(grafana, query)
        if query.name in ("bucket", "sample", "each"):
            assert rows and len(rows) == 1, query.name
        elif query.name == "grain":
            assert rows == [(max(grain, finest, key=GRAINS.index),)]
        elif query.name.startswith("stretch_") and finest == "minute":
            ((said,),) = rows
            begins = (filled.now - timedelta(days=180, minutes=30)).astimezone(ZoneInfo("Asia/Seoul"))
            metric = DEFINITIONS[query.name.removeprefix("stretch_")]
            minutes = metric.retention.minute if metric.documents is None else None  # those were never computed here
            expired = minutes is not None and minutes < span
            assert said.startswith(f" ({begins:%Y-%m-%d %H:%M} to ") == expired, query.name
            assert bool(said) == expired, query.name
        elif query.kind == "variable" and not query.name.startswith("stretch_") and not OF_DOCUMENTS.search(query.sql):
            assert rows, query.name
            assert all(isinstance(value, str) and value for (value,) in rows), query.name
        elif query.name == "Provisional" and dashboard["uid"] == "fleetgauge-service":  # rides are under way
            assert names == ["time", "timeEnd", "text"]
            assert rows
            assert all(row[0] < row[1] <= filled.now for row in rows)


@pytest.mark.parametrize("variable", ["zone", "vehicle_model", "command_type", "firmware", "carrier"])
def test_one_chosen_value_narrows(variable: str, grafana: psycopg.Connection, filled: Filled) -> None:
    """All = the sum over each value chosen alone, so the filters neither lose nor double rows."""
    dashboard = next(
        dashboard
        for uid, dashboard in DASHBOARDS.items()
        if uid in ("fleetgauge-service", "fleetgauge-commands")
        and any(v["name"] == variable and v["multi"] for v in dashboard["templating"]["list"])
    )
    since = filled.now - timedelta(days=10)
    title = "Commands" if dashboard["uid"] == "fleetgauge-commands" else "Rentals"

    def total(variables: dict[str, Any]) -> int:
        queries = panel_queries(dashboard, {"grain": "day", **variables}, since, filled.now)
        _, rows = run(grafana, next(query for query in queries if query.name == title))
        return int(sum(row[1] for row in rows))

    everything = dashboard_queries(dashboard, {}, since, filled.now)
    _, values = run(grafana, next(query for query in everything if query.name == variable))
    assert len(values) > 1
    assert total({}) == sum(total({variable: [value]}) for (value,) in values) > 0
    assert total({variable: ["no such value", "o'neil"]}) == 0


@pytest.mark.parametrize("title", ["Rentals", "Revenue", "Commands", "Traffic cost"])
def test_all_grains_tell_the_same(title: str, grafana: psycopg.Connection, filled: Filled) -> None:
    local = filled.now.astimezone(ZoneInfo("Asia/Seoul"))
    midnight = local.replace(hour=0, minute=0, second=0)
    since, until = midnight - timedelta(days=2), midnight - timedelta(milliseconds=1)
    totals = set()
    for grain in RANGES:
        for dashboard in DASHBOARDS.values():
            for query in panel_queries(dashboard, {"grain": grain}, since, until):
                if query.name == title:
                    _, rows = run(grafana, query)
                    value = 1 if query.format == "time_series" else 0
                    totals.add(sum(row[value] for row in rows))
    assert len(totals) == 1, totals
    assert totals.pop() > 0


@pytest.mark.parametrize("grain", RANGES)
def test_every_view_is_read_through_an_index(
    dashboard: dict[str, Any], grain: str, grafana: psycopg.Connection, filled: Filled
) -> None:
    """On tables this small a sequential scan is right; forbidden, none may be left, and each index is cut by time."""
    grafana.execute("SET enable_seqscan = off")
    for query in panel_queries(dashboard, {"grain": grain}, filled.now - RANGES[grain], filled.now):
        row = grafana.execute(f"EXPLAIN (FORMAT JSON) {query.sql}").fetchone()
        assert row is not None
        for node in _nodes(row[0][0]["Plan"]):
            relation = node.get("Relation Name", "")
            assert not (node["Node Type"] == "Seq Scan" and f"_{grain}__" in relation), (query.name, relation)
            if node["Node Type"] in ("Index Scan", "Index Only Scan") and f"_{grain}__" in relation:
                assert "window_start" in node.get("Index Cond", ""), (query.name, node)
            if node["Node Type"] == "Bitmap Index Scan" and f"_{grain}__" in node["Index Name"]:
                assert "window_start" in node["Index Cond"], (query.name, node)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes, save those of a least or greatest value, which take one entry of an index."""
    yield plan
    for child in plan.get("Plans", []):
        if not (plan["Node Type"] == "Limit" and child["Node Type"] == "Index Only Scan"):
            yield from _nodes(child)


@pytest.mark.parametrize("table", ["fleetgauge.command_attempt", "fleetgauge.tariff", "fleetgauge.ledger"])
def test_grafana_reads_nothing_else(table: str, grafana: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        grafana.execute(f"SELECT 1 FROM {table}")
