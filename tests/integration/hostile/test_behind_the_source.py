"""What hides behind a name in source.sql: a view or a function that counts from today would lose rows for good."""

from datetime import UTC, datetime, timedelta

import pytest
from fault_table import fault
from rollup_world import SOURCE_SQL, World, definition

from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.preview import preview_metrics
from fleetgauge.rollup.plan.request import RunRequest

AT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
MADE = """
CREATE VIEW behind_recent AS SELECT * FROM facts WHERE happened_at > now() - interval '1 hour';
CREATE VIEW behind_nested AS SELECT * FROM behind_recent WHERE state <> 'x';
CREATE VIEW behind_ranked AS SELECT *, row_number() OVER (PARTITION BY zone ORDER BY happened_at) AS rank FROM facts;
CREATE VIEW behind_cut AS SELECT * FROM facts ORDER BY id LIMIT 100;
CREATE MATERIALIZED VIEW behind_stored AS SELECT * FROM facts;
CREATE VIEW "Behind Sorted" AS SELECT * FROM facts ORDER BY id;
CREATE FUNCTION behind_chance(zone text) RETURNS text LANGUAGE sql AS $$ SELECT zone $$;
CREATE FUNCTION behind_recently(at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT at > now() - interval '1 hour' $$;
CREATE FUNCTION behind_modern(at timestamptz) RETURNS boolean LANGUAGE sql STABLE RETURN at > current_date;
CREATE FUNCTION behind_plain(zone text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper(zone) $$;
CREATE FUNCTION round(happened_at timestamptz) RETURNS timestamptz LANGUAGE sql AS $$ SELECT now() $$;
CREATE VIEW behind_called AS SELECT * FROM facts WHERE behind_recently(happened_at);
"""
GONE = """
DROP VIEW behind_nested, behind_recent, behind_ranked, behind_cut, behind_called, "Behind Sorted";
DROP MATERIALIZED VIEW behind_stored;
DROP FUNCTION behind_chance, behind_recently, behind_modern, behind_plain, round(timestamptz);
"""
FINE = """
SELECT f.*, behind_plain(zone) AS zone_name, round(f.amount) AS rounded
FROM public."Behind Sorted" AS f CROSS JOIN generate_series(1, 1) AS s (n) CROSS JOIN LATERAL unnest(ARRAY[f.id]) AS u
"""
FOLDER = "sql/metrics/behind/source.sql"


@pytest.fixture(scope="module", autouse=True)
def made(world: World) -> object:
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    world.app.execute(MADE)
    world.app.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO fleetgauge_reader")
    world.app.execute(f"INSERT INTO facts (happened_at, zone, kind, state) VALUES ('{AT}', 'a', 'b', 'done')")
    world.beat()
    world.catch_up()
    yield
    world.app.execute(GONE)


@fault(
    "source.sql reads a view that counts from today, or a function of one's own that does",
    number="none: the run fails before it reads",
    freshness="stopped, or not begun",
    doctor="fail, with file, line, view and cure",
    exporter="fleetgauge_rollup_failures",
    exit_code="1",
)
@pytest.mark.parametrize(
    "source, said",
    [
        ("SELECT *\nFROM behind_recent", f"{FOLDER}:2: view behind_recent: now gives another value each time"),
        ("SELECT * FROM public.behind_nested", f"{FOLDER}:1: view behind_recent: now gives another value each time"),
        ("WITH x AS (SELECT * FROM Behind_Ranked) SELECT * FROM x", "view behind_ranked: must have no window function"),
        ("SELECT * FROM behind_cut", "view behind_cut: must not have LIMIT"),
        ("SELECT * FROM behind_stored", "behind_stored is a materialized view"),
        (f"{SOURCE_SQL} AND behind_chance(zone) <> 'q'", "function behind_chance(text): is VOLATILE; declare it"),
        (f"{SOURCE_SQL} AND behind_recently(happened_at)", "function behind_recently(timestamp with time zone): now"),
        (f"{SOURCE_SQL} AND behind_modern(happened_at)", "function behind_modern(timestamp with time zone): CURRENT_D"),
        ("SELECT * FROM behind_called", "function behind_recently(timestamp with time zone): now gives"),
    ],
)
def test_what_counts_from_today_is_refused_wherever_it_stands(world: World, source: str, said: str) -> None:
    one = definition("behind", source_sql=source)
    world.migrate(one)
    report = world.run(one)
    assert report.severity == "terminal" and said in (report.error or "")
    assert world.metrics.execute("SELECT count(*) FROM metrics.behind_minute").fetchone() == (0,)
    assert {found.verdict for found in freshness(world.settings, [one])} != {"ok"}
    assert any(said in found.said for found in examine(world.settings, {one.metric: one}, {}) if found.status == "fail")
    (looked,) = preview_metrics(world.settings, [one], RunRequest("minute"))
    assert said in (looked.error or "")


def test_a_view_that_only_reads_counts_as_its_tables_do(world: World) -> None:
    one = definition("behind_fine", source_sql=FINE)
    world.migrate(one)
    world.beat()
    world.catch_up()
    report = world.run(one)
    assert report.error is None
    assert world.metrics.execute("SELECT sum(n)::int FROM metrics.behind_fine_minute").fetchone() == (1,)
