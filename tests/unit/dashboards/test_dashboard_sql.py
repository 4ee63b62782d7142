"""What the dashboards' SQL may touch, and how it must be written to be right and quick."""

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
import sqlglot
from dashboards.queries import DashboardQuery, dashboard_queries, panel_queries
from sqlglot import exp

TO = datetime(2025, 6, 1, 3, 21, tzinfo=UTC)
FROM = TO - timedelta(days=3)
GRAINS = ("minute", "hour", "day")
FUNCTIONS = {"quantile", "sketch_merge", "sketch_count", "range_grain", "range_said", "bucket_grain", "bucket_width"}
FUNCTIONS |= {"wilson"}


WHOLE = {"restatement", "suspect_precision", "metric", "blocked"}
"""Views that are not by window."""
OWN_TIMES = {"restatement": "restated_at", "suspect_vehicle_day": "date"}


@cache
def parsed(query: DashboardQuery) -> exp.Expr:
    statements = sqlglot.parse(query.sql, dialect="postgres")
    assert len(statements) == 1, f"{query.name}: one statement a query"
    assert isinstance(statements[0], exp.Query), f"{query.name}: only SELECT"
    return statements[0]


def chosen(dashboard: dict[str, Any]) -> dict[str, Any]:
    """A viewer who narrowed everything, with values that need quoting."""
    return {v["name"]: ["o'neil", 'a "b"'] for v in dashboard["templating"]["list"] if v["multi"]}


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("narrowed", [False, True], ids=["all", "narrowed"])
def test_only_the_aggregate_schema_is_read(dashboard: dict[str, Any], grain: str, narrowed: bool) -> None:
    variables = {"grain": grain, **(chosen(dashboard) if narrowed else {})}
    for query in dashboard_queries(dashboard, variables, FROM, TO):
        tree = parsed(query)
        named = {cte.alias for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            if not table.db and table.name in named:
                continue
            if not table.db and isinstance(table.this, exp.Anonymous) and name_of(table) == "jsonb_array_elements":
                continue
            if table.db == "fleetgauge" and isinstance(table.this, exp.Anonymous):
                assert name_of(table) in FUNCTIONS, query.name
                continue
            assert table.db == "metrics", f"{query.name} reads {table.sql()}"
            assert name_of(table).endswith(("_hour", "_day", "_range")) or name_of(table) in WHOLE, table.sql()
        for dot in tree.find_all(exp.Dot):  # schema.function(…)
            if isinstance(dot.expression, exp.Anonymous) and dot.find_ancestor(exp.Lateral) is None:
                assert dot.this.name == "fleetgauge", query.name
                assert dot.expression.name in FUNCTIONS, query.name


def name_of(table: exp.Table) -> str:
    """Of a view, or of a function that stands in FROM."""
    return str(table.this.this) if isinstance(table.this, exp.Anonymous) else table.name


@pytest.mark.parametrize("grain", GRAINS)
def test_every_view_is_cut_by_time(dashboard: dict[str, Any], grain: str) -> None:
    """What reads a range gives its ends; each SELECT that reads a view has a condition on the plain column
    window_start, which an index can serve."""
    ends = {"2025-05-29T03:21:00Z", "2025-06-01T03:21:00Z"}
    for query in dashboard_queries(dashboard, {"grain": grain}, FROM, TO):
        for select in parsed(query).find_all(exp.Select):
            source = select.args.get("from_") or select.args.get("from")
            reads = source is not None and isinstance(source.this, exp.Table) and source.this.db == "metrics"
            if not reads:
                continue
            if isinstance(source.this.this, exp.Anonymous):
                given = {literal.this for literal in source.this.this.find_all(exp.Literal)}
                assert ends <= given, f"{query.name}: {source.this.sql()}"
                continue
            if name_of(source.this) in WHOLE - OWN_TIMES.keys():  # few rows, whatever the range
                continue
            where = select.args["where"]
            column = OWN_TIMES.get(name_of(source.this), "window_start")
            cuts = [between for between in where.find_all(exp.Between) if between.this.name == column]
            assert cuts, f"{query.name} reads {source.this.sql()} without a time range"


def test_no_average_of_averages(dashboard: dict[str, Any]) -> None:
    for query in panel_queries(dashboard, {}, FROM, TO):
        tree = parsed(query)
        assert not list(tree.find_all(exp.Avg)), f"{query.name}: divide sums instead"
        # A stored ratio cannot be merged over windows or dimensions.
        assert "failure_rate" not in {column.name for column in tree.find_all(exp.Column)}, query.name
        assert "refund_rate" not in {column.name for column in tree.find_all(exp.Column)}, query.name
        for division in tree.find_all(exp.Div):
            divisor = division.expression.unnest()
            assert isinstance(divisor, exp.Nullif | exp.Literal), f"{query.name}: {division.sql()} may divide by zero"


def test_no_date_is_written_into_a_query(dashboard: dict[str, Any]) -> None:
    for query in dashboard_queries(dashboard, {}, FROM, TO):
        assert not re.search(r"\b20\d\d\b", query.raw_sql), query.name


def test_time_series_have_an_ascending_time(dashboard: dict[str, Any]) -> None:
    for query in panel_queries(dashboard, {}, FROM, TO):
        if query.format != "time_series":
            continue
        tree = parsed(query)
        assert isinstance(tree, exp.Select)
        assert tree.expressions[0].alias_or_name == "time", query.name
        assert tree.args["order"].expressions[0].this.sql() == "1", query.name
        assert not tree.args["order"].expressions[0].args.get("desc"), query.name


def test_every_filter_is_used_or_its_absence_said(dashboard: dict[str, Any]) -> None:
    filters = [v["name"] for v in dashboard["templating"]["list"] if v["multi"]]
    told = {p["title"].partition("${stretch_")[0]: p["description"] for p in dashboard["panels"] if p["type"] != "row"}
    for query in panel_queries(dashboard, {}, FROM, TO):
        missing = [name for name in filters if f"${{{name}:sqlstring}}" not in query.raw_sql]
        if missing and query.name != "Final until":  # finality belongs to the window, not to its cells
            assert re.search("Filtered by Command and Carrier only|Not filtered by", told[query.name]), query.name


@pytest.mark.parametrize(
    ("wish", "span", "grain"),
    [
        ("auto", timedelta(minutes=15), "minute"),
        ("auto", timedelta(hours=12, seconds=1), "minute"),
        ("auto", timedelta(days=1), "hour"),
        ("auto", timedelta(days=3), "hour"),
        ("auto", timedelta(days=31), "hour"),
        ("auto", timedelta(days=180), "day"),
        ("minute", timedelta(days=2), "minute"),
        ("minute", timedelta(days=3), "hour"),
        ("minute", timedelta(days=180), "day"),
        ("hour", timedelta(minutes=15), "hour"),
        ("hour", timedelta(days=92), "hour"),
        ("hour", timedelta(days=180), "day"),
        ("day", timedelta(minutes=15), "day"),
    ],
)
def test_the_grain_follows_the_range(dashboard: dict[str, Any], wish: str, span: timedelta, grain: str) -> None:
    """While nothing has expired. The query is plain enough for SQLite; the integration test asks Postgres."""
    queries = dashboard_queries(dashboard, {"resolution": wish}, TO - span, TO)
    sql = next(query.sql for query in queries if query.name == "grain")
    sql = sql.replace("fleetgauge.range_grain", "range_grain").replace("::timestamptz", "")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("range_grain", -1, lambda wish, *_: wish)
        assert connection.execute(sql).fetchall() == [(grain,)]
