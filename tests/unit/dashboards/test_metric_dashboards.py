"""The dashboards that metrics have by themselves: what they may read, and that they choose the smallest view."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from dashboards.build import dashboard_json, main
from dashboards.definitions import metric
from dashboards.queries import dashboard_queries, panels
from sqlglot import exp

from fleetgauge.rollup.definitions.measures import Extreme, Percentile, unit_of
from own_metrics import own_metrics

ROOT = Path(__file__).parents[3]
DEFINITIONS = own_metrics()
TO = datetime(2025, 6, 1, 3, 21, tzinfo=UTC)
FROM = TO - timedelta(days=3)


@cache
def made(name: str) -> dict[str, Any]:
    return dashboard_json(*metric.build(DEFINITIONS[name]))


@pytest.fixture(params=sorted(DEFINITIONS))
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return made(request.param)


@pytest.mark.parametrize("narrowed", [False, True])
def test_only_the_metrics_own_views_are_read_and_cut_by_time(dashboard: dict[str, Any], narrowed: bool) -> None:
    name = dashboard["uid"].removeprefix("metric-")
    many = [v["name"] for v in dashboard["templating"]["list"] if v.get("multi")]
    chosen = {one: ["o'neil", 'a "b"'] for one in many} if narrowed else {}
    for query in dashboard_queries(dashboard, {"grain": "hour", **chosen}, FROM, TO):
        tree = sqlglot.parse_one(query.sql, dialect="postgres")
        assert isinstance(tree, exp.Query), query.name
        for table in tree.find_all(exp.Table):
            if isinstance(table.this, exp.Anonymous) and table.db == "fleetgauge":
                assert table.this.this == "left_out_rows", query.name
            elif isinstance(table.this, exp.Anonymous):
                assert (table.db, table.this.this.startswith(f"{name}_")) == ("metrics", True), query.name
                assert {"2025-05-29T03:21:00Z", "2025-06-01T03:21:00Z"} <= {x.this for x in table.find_all(exp.Literal)}
            elif (table.db, table.name) == ("metrics", "metric"):
                assert f"name = '{name}' AND " in query.sql
            elif table.name == "restatement":
                assert f"metric = '{name}' AND restated_at BETWEEN" in query.sql
            elif table.db or table.name.startswith(name):
                assert (table.db, table.name.startswith(f"{name}_")) == ("metrics", True), query.name
                select = table.find_ancestor(exp.Select)
                assert select is not None
                assert [b for b in select.args["where"].find_all(exp.Between) if b.this.sql() == "window_start"]


def test_every_measure_has_a_panel_that_explains_itself(dashboard: dict[str, Any]) -> None:
    one = DEFINITIONS[dashboard["uid"].removeprefix("metric-")]
    found = {panel["title"]: panel for panel in panels(dashboard)}
    assert set(found) == {
        "Final until",
        "Left out",
        *(metric.title(*measure) for measure in one.measures.items()),
    }
    stretch = f"${{stretch_{one.metric}}}"
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == [f"Over the range{stretch}", f"Measures{stretch}"]
    for panel in found.values():
        assert "Source: metrics." in panel["description"]
    assert dashboard["timezone"] == one.time_zone
    assert len(dashboard["uid"]) <= 40


STEMS = [
    ("hour", {}, "nothing", "vehicle_state_total_"),
    ("day", {}, "nothing", "vehicle_state_total_"),
    ("minute", {}, "nothing", "vehicle_state_total_"),
    ("hour", {}, "zone", "vehicle_state_by_zone_"),
    ("hour", {}, "vehicle_state", "vehicle_state_by_state_"),
    ("hour", {"zone": ["a", "o'neil"]}, "nothing", "vehicle_state_by_zone_"),
    ("hour", {"zone": ["a"]}, "zone", "vehicle_state_by_zone_"),
    ("hour", {"zone": ["a"]}, "vehicle_state", "vehicle_state_"),
    ("hour", {"zone": ["a"], "vehicle_state": ["b"]}, "nothing", "vehicle_state_"),
]


@pytest.mark.parametrize(("grain", "filters", "by", "stem"), STEMS)
def test_the_smallest_view_that_fits_is_chosen(grain: str, filters: dict[str, Any], by: str, stem: str) -> None:
    """The query is plain enough for SQLite; the integration test asks Postgres."""
    dashboard = made("vehicle_state")
    queries = dashboard_queries(dashboard, {"grain": grain, "by": by, **filters}, FROM, TO)
    sql = next(query.sql for query in queries if query.name == "stem")
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute(sql).fetchall() == [(stem,)]


def test_another_content_gets_boards_of_its_metrics_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sql" / "metrics" / "bread"
    folder.mkdir(parents=True)
    (folder / "metric.yaml").write_text(
        "metric: bread\nsource: bakery\nevent_time: at\nmeasures: {loaves: {agg: count}}\ntime_zone: Europe/Paris\n"
    )
    (folder / "source.sql").write_text("SELECT at FROM loaves")
    assert main(["--content", str(tmp_path), "--check"]) == 1
    assert main(["--content", str(tmp_path)]) == 0
    (made,) = (tmp_path / "dashboards" / "generated").iterdir()
    assert made.name == "metric-bread.json"
    dashboard = json.loads(made.read_text())
    assert dashboard["timezone"] == "Europe/Paris"
    for query in dashboard_queries(dashboard, {"grain": "day"}, FROM, TO):
        assert sqlglot.parse_one(query.sql, dialect="postgres")
    assert main(["--content", str(tmp_path), "--check"]) == 0


def test_a_title_says_which_statistic_is_drawn_and_the_axis_in_what_unit() -> None:
    """Of a measure that says nothing of itself, name and kind tell as much as they can."""
    board = made("rental")
    found = {p["title"].partition("$")[0]: p["fieldConfig"]["defaults"].get("unit") for p in panels(board)}
    assert found["Fares: sum per "] == "currencyKRW"
    assert found["Length of a rental: 95th percentile per "] == "suffix:min"
    assert found["Riders: different values per "] == "locale"
    assert found["Refund rate per "] == "percentunit"
    bare = Percentile(agg="percentile", of="x")
    assert (metric.title("wait_ms", bare), unit_of("wait_ms", bare)) == ("Wait: 95th percentile per $sample", "ms")
    least = Extreme(agg="min", of="x")
    assert (metric.title("charge", least), unit_of("charge", least)) == ("Charge: minimum per $sample", "count")


def test_every_measure_of_the_project_has_a_label_and_a_unit() -> None:
    without = [
        f"{one.metric}.{name}"
        for one in DEFINITIONS.values()
        for name, measure in one.measures.items()
        if not measure.label or measure.unit is None
    ]
    assert [name for name in without if not name.startswith("traffic")] == []
