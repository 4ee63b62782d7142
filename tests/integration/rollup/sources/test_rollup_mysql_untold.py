"""Rows of MariaDB that are far ahead of now, or lack their key or their time of change: as those of Postgres."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mysql_world import SOURCE_SQL, MysqlWorld, mysql_definition

from fleetgauge.rollup import Definition, RunReport
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
FAR = NOW + timedelta(days=3 * 365)
AHEAD = "happened_at is too far ahead of now"


@pytest.fixture(autouse=True)
def fresh(shop: MysqlWorld) -> None:
    shop.empty()


def run(shop: MysqlWorld, one: Definition) -> RunReport:
    shop.beat()
    shop.catch_up()
    report = shop.run(one)
    assert report.error is None
    return report


def counted(shop: MysqlWorld, one: Definition) -> Any:
    """Facts by kind, the same at minute, hour and day."""
    found = []
    for grain in ("minute", "hour", "day"):
        rows = shop.metrics.execute(f"SELECT kind, n FROM metrics.{one.metric}_{grain}").fetchall()
        sums: Counter[str] = Counter()
        for kind, n in rows:
            sums[kind] += n
        found.append(+sums)
    assert found[0] == found[1] == found[2]
    return found[0]


@pytest.mark.parametrize("key", [None, "id"])
def test_what_is_far_ahead_waits_is_told_and_leaves_no_shadow(shop: MysqlWorld, key: str | None) -> None:
    one = mysql_definition(f"far_{key}".lower(), key=key)
    shop.migrate(one)
    shop.insert(SAME)
    moved = shop.insert(SAME, kind="moved")
    far = shop.insert(FAR, kind="far")
    assert f"1 row(s) left out, {AHEAD}" in " ".join(run(shop, one).warnings)
    assert counted(shop, one) == {"x": 1, "moved": 1}
    shop.insert(FAR, kind="far")
    soon = shop.insert(datetime.now(UTC) + timedelta(minutes=2), kind="soon")
    report = run(shop, one)
    assert f"2 row(s) left out, {AHEAD}" in " ".join(report.warnings)
    assert counted(shop, one) == {"x": 1, "moved": 1, "soon": 1}
    assert {found.verdict for found in freshness(shop.settings, [one])} == {"warn"}
    if key is not None:
        shop.change(moved, happened_at=FAR)
        assert f"3 row(s) left out, {AHEAD}" in " ".join(run(shop, one).warnings)
        assert counted(shop, one) == {"x": 1, "soon": 1}
        shop.change(far, happened_at=SAME)
        run(shop, one)
        assert counted(shop, one) == {"x": 1, "soon": 1, "far": 1}
    shop.app.ask("DELETE FROM facts WHERE happened_at > %s", [NOW + timedelta(days=1)])
    assert soon and AHEAD not in " ".join(run(shop, one).warnings)


@pytest.mark.parametrize("key", [None, "id"])
def test_rows_without_a_time_of_change_are_told(shop: MysqlWorld, key: str | None) -> None:
    """A new one counts at once, as it is; one that comes late once `reconcile` has found it."""
    one = mysql_definition(
        f"timeless_{key}".lower(),
        key=key,
        source_sql=SOURCE_SQL.replace("changed_at", "NULLIF(changed_at, happened_at) AS changed_at"),
    )
    shop.migrate(one)
    run(shop, one)
    shop.insert(datetime.now(UTC))
    shop.insert(SAME, kind="late")
    shop.app.ask("UPDATE facts SET changed_at = happened_at")
    run(shop, one)
    assert counted(shop, one) == {"x": 1}
    found = shop.metrics.execute(
        "SELECT count, cardinality(keys) FROM fleetgauge.unfollowed WHERE metric = %s", [one.metric]
    )
    assert found.fetchall() == [(2, 2)]
    assert {found.verdict for found in freshness(shop.settings, [one])} == {"warn"}
    reconcile_metrics(shop.settings, [one], (SAME - timedelta(hours=1), NOW))
    assert counted(shop, one) == {"x": 1, "late": 1}
    shop.app.ask("UPDATE facts SET changed_at = NOW(6)")
    run(shop, one)
    assert counted(shop, one) == {"x": 1, "late": 1}
    assert {found.verdict for found in freshness(shop.settings, [one])} == {"ok"}


def test_a_row_without_a_key_is_left_out_and_stops_no_other(shop: MysqlWorld) -> None:
    one = mysql_definition("keyless", key="k", source_sql="SELECT f.*, NULLIF(f.length, 0) AS k FROM facts AS f")
    shop.migrate(one)
    shop.insert(SAME, length=1)
    run(shop, one)
    lost = shop.insert(SAME, length=0, kind="y")
    shop.insert(SAME, length=2, kind="z")
    assert "1 row(s) left out, k is NULL, and no key" in " ".join(run(shop, one).warnings)
    assert counted(shop, one) == {"x": 1, "z": 1}
    shop.change(lost, length=3)
    run(shop, one)
    assert counted(shop, one) == {"x": 1, "y": 1, "z": 1}


@pytest.mark.parametrize("column", ["changed_at", "CONVERT_TZ(changed_at, '+00:00', '+09:00') AS changed_at"])
def test_changes_of_a_clock_that_lags_are_counted(shop: MysqlWorld, column: str) -> None:
    """They lie behind the cursor; a DATETIME is in the zone that the definition names."""
    one = mysql_definition(
        f"lagging_{len(column)}",
        source_sql=SOURCE_SQL.replace("changed_at", column),
        **({} if column == "changed_at" else {"datetime_offset": "+09:00"}),
    )
    shop.migrate(one)
    shop.insert(SAME)
    run(shop, one)
    for fact in (shop.insert(SAME, kind="late"), shop.insert(SAME, kind="late")):
        shop.app.ask("UPDATE facts SET changed_at = now(6) - INTERVAL 3 MINUTE WHERE id = %s", [fact])
    run(shop, one)
    assert counted(shop, one) == {"x": 1, "late": 2}
    (said,) = {held.said for found in freshness(shop.settings, [one]) for held in found.conditions}
    assert "2 change(s) appeared up to 1" in said
