"""What others have built on a metric's views outlives every change of the metric."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from built_views import report_of_an_analyst
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition
from fleetgauge.rollup.store.migrate import migrate

MEASURES: dict[str, Any] = {
    "n": {"agg": "count", "description": "Facts."},
    "length": {"agg": "sum", "of": "length", "type": "integer"},
    "score": {"agg": "percentile", "of": "score"},
    "share": {"agg": "ratio", "numerator": "length", "denominator": "n"},
}
MORE = {**MEASURES, "open": {"agg": "count", "where": {"state": "open"}, "description": "Not over."}}
DERIVED = (
    "CREATE OR REPLACE VIEW metrics.{0}_double AS SELECT window_start, zone, 2 * n AS twice FROM metrics.{0}_hour;"
)
HANGING = """
CREATE VIEW report.{0} AS SELECT zone, sum(n) AS n FROM metrics.{0}_day GROUP BY zone;
CREATE VIEW report.{0}_above AS SELECT sum(n) AS n FROM report.{0};
CREATE MATERIALIZED VIEW report.{0}_stored AS SELECT * FROM report.{0}_above;
CREATE INDEX ON report.{0}_stored (n);
CREATE FUNCTION report.{0}_n() RETURNS numeric LANGUAGE sql BEGIN ATOMIC SELECT sum(n) FROM metrics.{0}_day; END;
CREATE FUNCTION report.{0}_rows() RETURNS SETOF metrics.{0}_day LANGUAGE sql AS 'SELECT * FROM metrics.{0}_day';
CREATE TABLE report.{0}_inbox (n bigint);
CREATE RULE told AS ON INSERT TO report.{0}_inbox
    DO ALSO INSERT INTO report.{0}_log SELECT count(*) FROM metrics.{0}_day;
GRANT SELECT ON metrics.{0}_day TO finance;
GRANT SELECT (n, zone) ON metrics.{0}_hour TO finance WITH GRANT OPTION;
COMMENT ON VIEW metrics.{0}_day IS 'Finance: the monthly report reads this';
COMMENT ON COLUMN metrics.{0}_day.length IS 'Finance: metres';
ALTER VIEW metrics.{0}_day SET (security_barrier = true);
"""


@pytest.fixture(scope="module", autouse=True)
def report(world: World) -> Iterator[None]:
    yield from report_of_an_analyst(world)


def _filled(world: World, one: Definition) -> None:
    world.migrate(one)
    world.beat()
    world.catch_up()
    report = world.run(one)
    assert report.error is None


def _built(world: World, name: str) -> dict[str, Any]:
    """What analysts have, in comparable form."""
    world.metrics.execute(f"CREATE TABLE IF NOT EXISTS report.{name}_log (n bigint)")
    return {
        "rows": world.metrics.execute(f"SELECT * FROM report.{name} ORDER BY zone").fetchall(),
        "stored": world.metrics.execute(f"SELECT * FROM report.{name}_stored").fetchall(),
        "function": world.metrics.execute(f"SELECT report.{name}_n()").fetchall(),
        "set": world.metrics.execute(f"SELECT count(*) FROM report.{name}_rows()").fetchall(),
        "grants": world.metrics.execute(
            "SELECT relname, ARRAY(SELECT a::text FROM unnest(relacl) AS a ORDER BY 1), reloptions,"
            " pg_get_userbyid(relowner) FROM pg_class"
            " WHERE relnamespace = 'metrics'::regnamespace AND relname LIKE %s ORDER BY 1",
            [f"{name}%"],
        ).fetchall(),
        "column grants": world.metrics.execute(
            "SELECT attname, attacl::text FROM pg_attribute WHERE attrelid = %s::regclass AND attacl IS NOT NULL",
            [f"metrics.{name}_hour"],
        ).fetchall(),
        "comments": [
            world.metrics.execute(
                "SELECT obj_description(%(view)s::regclass), col_description(%(view)s::regclass, attnum)"
                " FROM pg_attribute WHERE attrelid = %(view)s::regclass AND attname = 'length'",
                {"view": f"metrics.{name}_day"},
            ).fetchone()
        ],
    }


def _build(world: World, name: str) -> dict[str, Any]:
    world.metrics.execute(f"CREATE TABLE report.{name}_log (n bigint)")
    world.metrics.execute(HANGING.format(name))
    found = _built(world, name)
    assert found["rows"] and found["column grants"]
    return found


@fault(
    "A measure is added while analysts' views, functions, grants and comments depend on the metric's views",
    number="right, in the old columns and the new one, from the run on that fills it",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_an_added_measure_is_shown_by_the_run_that_fills_it_and_takes_nothing_away(world: World) -> None:
    old = definition("added", measures=MEASURES, views_sql=DERIVED.format("added"))
    _filled(world, old)
    before = _build(world, "added")
    new = definition("added", measures=MORE, views_sql=DERIVED.format("added"))
    assert new.version != old.version
    done = migrate(world.settings, {"added": new})
    assert (done.waiting, done.refused) == (("added",), {})
    assert _built(world, "added") == before
    world.beat()
    world.catch_up()
    report = world.run(new)
    assert (report.error, report.warnings) == (None, [])
    for grain in ("minute", "hour", "day"):
        rows = f"SELECT zone, n, length, open, provisional, version FROM metrics.added_{grain} ORDER BY zone"
        assert [row[:4] for row in world.metrics.execute(rows)] == [("a", 1, 3, 1), ("b", 1, 4, 0)]
        assert {row[5] for row in world.metrics.execute(rows)} == {new.version}
    assert _built(world, "added") == before
    assert world.metrics.execute("SELECT sum(twice) FROM metrics.added_double").fetchone() == (4,)
    assert migrate(world.settings, {"added": new}).published == ()
    assert _built(world, "added") == before
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name)) as reader:
        assert reader.execute("SELECT sum(open) FROM metrics.added_day").fetchone() == (1,)


def test_views_sql_may_name_what_its_own_version_adds_before_a_run_has_filled_it(world: World) -> None:
    text = "CREATE OR REPLACE VIEW metrics.named_all AS SELECT zone, sum(n) AS n, sum({}) AS open FROM metrics.named_{}"
    old = definition("named", measures=MEASURES, rollups={})
    _filled(world, old)
    world.metrics.execute("CREATE VIEW report.named AS SELECT zone, n FROM metrics.named_day")
    changes = {
        "measures": MORE,
        "rollups": {"by_zone": ["zone"]},
        "views_sql": text.format("open", "by_zone_day GROUP BY 1"),
    }
    new = definition("named", **changes)
    done = migrate(world.settings, {"named": new})
    assert (done.waiting, done.refused) == (("named",), {})
    assert migrate(world.settings, {"named": new}).waiting == ("named",)
    whole = "SELECT sum(n)::int, sum(open)::int FROM metrics.named_{}"
    for view in ("minute", "hour", "day", "by_zone_day", "all"):
        assert world.metrics.execute(whole.format(view)).fetchone() == (2, None), view
    assert world.metrics.execute("SELECT sum(n)::int FROM report.named").fetchone() == (2,)
    world.beat()
    world.catch_up()
    assert world.run(new).error is None
    for view in ("minute", "hour", "day", "by_zone_day", "all"):
        assert world.metrics.execute(whole.format(view)).fetchone() == (2, 1), view
    assert migrate(world.settings, {"named": new}).refused == {}


@fault(
    "A measure's type changes while an analyst's view depends on the metric's view",
    number="the older version's, until the view may be made again; nothing is dropped",
    freshness="error: the new version waits, and why",
    doctor="fail: the same",
    exporter='fleetgauge_rollup_waiting 1, `fleetgauge_rollup_condition{condition="not_shown"}` 1',
    exit_code="78 of migrate, naming what depends on the view and what to do",
)
def test_a_measure_that_changes_its_type_is_refused_while_something_hangs_on_the_view(world: World) -> None:
    old = definition("retyped", measures=MEASURES, views_sql=DERIVED.format("retyped"))
    _filled(world, old)
    before = _build(world, "retyped")
    wide = {**MEASURES, "length": {"agg": "sum", "of": "length", "type": "numeric"}}
    new = definition("retyped", measures=wide, views_sql=DERIVED.format("retyped"))
    assert migrate(world.settings, {"retyped": new}).waiting == ("retyped",)
    world.beat()
    world.catch_up()
    report = world.run(new)
    assert report.error is None
    for said in (report.warnings[0], migrate(world.settings, {"retyped": new}).refused["retyped"]):
        for name in (
            "metrics.retyped_day.length becomes numeric",
            "view report.retyped",
            "view report.retyped_above",
            "materialized view report.retyped_stored",
            "function report.retyped_n()",
            "function report.retyped_rows()",
            "rule told on report.retyped_inbox",
            "give the measure a new name",
        ):
            assert name in said
    dry = migrate(world.settings, {"retyped": new}, dry_run=True)
    assert dry.refused.keys() == {"retyped"}
    assert _built(world, "retyped") == before

    world.metrics.execute(
        "DROP MATERIALIZED VIEW report.retyped_stored; DROP VIEW report.retyped_above, report.retyped;"
        "DROP FUNCTION report.retyped_n(), report.retyped_rows(); DROP TABLE report.retyped_inbox"
    )
    done = migrate(world.settings, {"retyped": new})
    assert (done.published, done.refused) == (("retyped",), {})
    world.metrics.execute(HANGING.format("retyped").partition("GRANT")[0])
    assert _built(world, "retyped") == before  # with the grants, comments and options that were there
    row = world.metrics.execute("SELECT sum(length), pg_typeof(max(length))::text FROM metrics.retyped_day").fetchone()
    assert row == (7, "numeric")
    assert world.metrics.execute("SELECT sum(twice) FROM metrics.retyped_double").fetchone() == (4,)


def test_a_removed_measure_leaves_its_column_which_says_since_when_it_is_null(world: World) -> None:
    _filled(world, definition("removed", measures=MORE))
    before = _build(world, "removed")
    new = definition("removed", measures={"length": MORE["length"], "most": {"agg": "max", "of": "length"}})
    _filled(world, new)
    row = world.metrics.execute("SELECT sum(length), max(most), max(n), max(open) FROM metrics.removed_day").fetchone()
    assert row == (7, 4, None, None)
    assert _built(world, "removed")["grants"] == before["grants"]
    said = world.metrics.execute(
        "SELECT col_description('metrics.removed_day'::regclass, attnum) FROM pg_attribute"
        " WHERE attrelid = 'metrics.removed_day'::regclass AND attname = 'open'"
    ).fetchone()
    assert said == (f"[NULL (version {new.version})]",)


def test_a_view_of_views_sql_grows_and_keeps_what_depends_on_it(world: World) -> None:
    text = "CREATE OR REPLACE VIEW metrics.own_a AS SELECT {} FROM metrics.own_day GROUP BY 1;\n"
    second = "CREATE OR REPLACE VIEW metrics.own_b AS SELECT sum(n) AS n FROM metrics.own_a;"
    old = definition("own", measures=MEASURES, views_sql=text.format("zone, sum(n) AS n, sum(length) AS l") + second)
    _filled(world, old)
    world.metrics.execute("CREATE VIEW report.own AS SELECT zone, n, l FROM metrics.own_a")
    world.metrics.execute("GRANT SELECT ON metrics.own_a TO finance; ALTER VIEW metrics.own_a SET (security_barrier)")
    acl = "SELECT relacl::text, reloptions FROM pg_class WHERE oid = 'metrics.own_a'::regclass"
    before = world.metrics.execute(acl).fetchone()
    changed = definition("own", measures=MEASURES, views_sql=text.format("zone, max(n) AS most, sum(n) AS n") + second)
    migrate(world.settings, {"own": changed})
    rows = world.metrics.execute("SELECT zone, n, l, most FROM metrics.own_a ORDER BY zone").fetchall()
    assert rows == [("a", 1, None, 1), ("b", 1, None, 1)]
    assert world.metrics.execute("SELECT n, l FROM report.own").fetchall() == [(1, None), (1, None)]
    assert world.metrics.execute(acl).fetchone() == before
    retyped = definition("own", measures=MEASURES, views_sql=text.format("zone, count(*)::int AS n") + second)
    with pytest.raises(Terminal, match=r"n becomes integer in metrics\.own_a.*view report\.own "):
        migrate(world.settings, {"own": retyped})
    assert world.metrics.execute(acl).fetchone() == before
    world.metrics.execute("DROP VIEW report.own")
    migrate(world.settings, {"own": retyped})
    assert world.metrics.execute("SELECT pg_typeof(n)::text FROM metrics.own_a LIMIT 1").fetchone() == ("integer",)
    assert world.metrics.execute("SELECT n FROM metrics.own_b").fetchone() == (2,)
    assert world.metrics.execute(acl).fetchone() == before


def test_a_view_that_somebody_else_owns_is_named(world: World) -> None:
    old = definition("owned", measures=MEASURES)
    _filled(world, old)
    world.metrics.execute("ALTER VIEW metrics.owned_hour OWNER TO finance")
    _filled(world, definition("owned", measures=MORE))
    refused = migrate(world.settings, {"owned": definition("owned", measures=MORE)}).refused
    assert "metrics.owned_hour belongs to finance" in refused["owned"]
    world.metrics.execute("ALTER VIEW metrics.owned_hour OWNER TO fleetgauge_writer")
    assert migrate(world.settings, {"owned": definition("owned", measures=MORE)}).published == ("owned",)
