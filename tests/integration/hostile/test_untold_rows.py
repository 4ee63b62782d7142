"""Rows that indexes cannot hold, that nobody can follow, or that a policy hides: counted, or told, and never a stop."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup import Definition, RunReport
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
GRAINS = ("minute", "hour", "day")
LONG = "".join(Random(1).choice("abcdefghijklmnop äöü漢字") for _ in range(9_000))  # no compression makes it fit


@pytest.fixture(autouse=True)
def empty(world: World) -> None:
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    world.app.execute("ALTER TABLE facts ALTER changed_at DROP NOT NULL")


def run(world: World, one: Definition) -> RunReport:
    world.beat()
    world.catch_up()
    report: RunReport = world.run(one)
    return report


def counted(world: World, one: Definition, by: str = "kind") -> list[dict[str, int]]:
    """By a dimension, at minute, hour and day."""
    query = "SELECT {by}, sum(n)::integer FROM metrics.{view} GROUP BY 1"
    return [
        dict(world.metrics.execute(query.format(by=by, view=f"{one.metric}_{grain}")).fetchall()) for grain in GRAINS
    ]


def told(world: World, one: Definition) -> tuple[set[str], str]:
    verdicts: set[str] = {found.verdict for found in freshness(world.settings, [one])}
    return verdicts, "\n".join(f.said for f in examine(world.settings, {one.metric: one}, {}) if f.status != "ok")


@fault(
    "A text is too long for an index, as a dimension and as a key",
    number="counted, under its first characters and its hash, so that two such texts stay two",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_a_text_of_any_length_is_counted_as_itself(world: World) -> None:
    with_key = "SELECT *, CASE WHEN zone <> 'a' THEN zone ELSE id::text END AS k FROM facts"
    one = definition("lengthy", key="k", source_sql=with_key)
    world.migrate(one)
    world.insert(SAME)
    world.insert(SAME, zone=LONG)
    assert run(world, one).error is None
    world.insert(SAME, zone=LONG + "z")
    assert run(world, one).error is None
    for found in counted(world, one, "zone"):
        assert sorted(found.values()) == [1, 1, 1] and found.pop("a") == 1
        assert {label[:64] for label in found} == {LONG[:64]}
    compared = reconcile_metrics(world.settings, [one], (SAME - timedelta(hours=1), NOW), dry_run=True)[0]
    assert (compared.error, compared.different) == (None, 0)
    assert told(world, one) == ({"ok"}, "")


@fault(
    "A row has no key where the definition follows rows by one, or changed at infinity",
    number="without the row that has no key, and with the other",
    freshness="warn, with the row's time and dimensions",
    doctor="warn, with the row's time and dimensions",
    exporter="fleetgauge_rollup_left_out_rows",
    exit_code="0",
)
def test_a_row_without_a_key_is_left_out_and_stops_no_other(world: World) -> None:
    one = definition("keyless", key="k", source_sql="SELECT *, nullif(length, 0) AS k FROM facts")
    world.migrate(one)
    world.insert(SAME, length=1)
    assert run(world, one).error is None
    lost = world.insert(SAME, length=0, kind="y")
    endless = world.insert(SAME, length=2, kind="z")
    world.app.execute("UPDATE facts SET changed_at = 'infinity' WHERE id = %s", [endless])
    report = run(world, one)
    assert report.error is None and "1 row(s) left out, k is NULL, and no key" in " ".join(report.warnings)
    assert counted(world, one) == [{"x": 1, "z": 1}] * 3
    verdicts, warned = told(world, one)
    assert verdicts == {"warn"} and "k is NULL" in warned and f"{SAME:%Y-%m-%d}" in warned
    world.change(lost, length=3)
    assert run(world, one).error is None
    assert counted(world, one) == [{"x": 1, "y": 1, "z": 1}] * 3


@fault(
    "Rows have no time of change, such as where it is NULL until a first update",
    number="new rows count at once; those that come late once reconcile has found them",
    freshness="warn, with some keys",
    doctor="warn, with some keys",
    exporter='`fleetgauge_rollup_condition{condition="unfollowed"}`',
    exit_code="0",
)
def test_rows_without_a_time_of_change_are_told(world: World) -> None:
    one = definition("timeless")
    world.migrate(one)
    run(world, one)
    world.insert(datetime.now(UTC))
    late = world.insert(SAME, kind="late")
    world.app.execute("UPDATE facts SET changed_at = NULL")
    assert run(world, one).error is None
    assert counted(world, one) == [{"x": 1}] * 3
    verdicts, warned = told(world, one)
    assert verdicts == {"warn"} and "2 row(s) of its source have no time of change" in warned
    reconcile_metrics(world.settings, [one], (SAME - timedelta(hours=1), NOW))
    assert counted(world, one) == [{"x": 1, "late": 1}] * 3
    world.app.execute("UPDATE facts SET changed_at = now()")
    run(world, one)
    assert late and told(world, one)[0] == {"ok"}


@pytest.mark.parametrize("at", ["-infinity", "0202-03-04", "4713-01-01 BC", "epoch"])
def test_so_are_rows_whose_change_lies_before_all_times(world: World, at: str) -> None:
    one = definition(f"early_{abs(hash(at)) % 10**8}")
    world.migrate(one)
    fact = world.insert(SAME)
    run(world, one)
    world.app.execute("UPDATE facts SET kind = 'late', changed_at = %s", [at])
    assert run(world, one).error is None
    verdicts, warned = told(world, one)
    assert verdicts == {"warn"} and "1 row(s) of its source have no time of change, or an impossible one" in warned
    reconcile_metrics(world.settings, [one], (SAME - timedelta(hours=1), NOW))
    assert counted(world, one) == [{"late": 1}] * 3
    world.change(fact, length=2)
    run(world, one)
    assert told(world, one)[0] == {"ok"}


@fault(
    "A policy (row-level security) hides rows of the source from its login",
    number="as before: nothing is computed from a part",
    freshness="error: its last run failed, with the table",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="70 of run",
)
def test_rows_that_a_policy_hides_are_not_taken_for_none(world: World) -> None:
    one = definition("hidden")
    world.migrate(one)
    world.insert(SAME)
    run(world, one)
    world.app.execute("ALTER TABLE facts ENABLE ROW LEVEL SECURITY")
    try:
        world.insert(SAME)
        report = run(world, one)
        assert report.error is not None and 'row-level security policy for table "facts"' in report.error
        assert counted(world, one) == [{"x": 1}] * 3
        verdicts, warned = told(world, one)
        assert verdicts == {"error"} and "row-level security" in warned
    finally:
        world.app.execute("ALTER TABLE facts DISABLE ROW LEVEL SECURITY")
    assert run(world, one).error is None
    assert counted(world, one) == [{"x": 2}] * 3
