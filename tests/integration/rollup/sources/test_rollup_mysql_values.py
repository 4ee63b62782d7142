"""Values of MariaDB that no other database has: days that are none, and texts without an end as dimension and key."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mysql_world import READER, MysqlWorld, mysql_definition

from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.labels import label_of
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics

AT = datetime.now(UTC).replace(minute=5, second=0, microsecond=0) - timedelta(hours=3)
LONG = "é" * 70 + "x" * 100_000
TEXTS = ["a", "a ", "A", LONG, LONG + "y", "z" * 300, "w" * 401, '{"a": 1}', "", None, "...", "cut... " + "0" * 64]


@pytest.fixture(params=["longtext", "json", "varchar(2000)", "text CHARACTER SET utf8mb3"])
def texts(request: pytest.FixtureRequest, shop: MysqlWorld) -> Iterator[str]:
    """A table with a column of that type."""
    checked = request.param == "json"
    shop.app.ask(
        "CREATE TABLE notes (id int PRIMARY KEY, happened_at timestamp(6) NOT NULL, changed_at timestamp(6) NOT NULL"
        f" DEFAULT CURRENT_TIMESTAMP(6), v {request.param}, KEY (happened_at), KEY (changed_at))"
    )
    shop.app.ask(f"GRANT SELECT ON notes TO {READER}")
    yield "json" if checked else request.param
    shop.app.ask("DROP TABLE notes")


def _fits(kind: str, text: str | None) -> bool:
    if text is None or kind == "longtext":
        return True
    if kind == "json":
        return text.startswith("{")
    return len(text) <= (2_000 if kind.startswith("varchar") else 60_000)


def run(shop: MysqlWorld, one: Definition) -> Any:
    shop.beat()
    shop.catch_up()
    (report,) = run_metrics(shop.settings, [one], "minute", options=RunOptions(pause_s=0.0))
    assert report.error is None
    return report


def test_texts_of_any_length_are_dimension_distinct_last_and_key(shop: MysqlWorld, texts: str) -> None:
    one = mysql_definition(
        f"notes_{texts[:4]}",
        source_sql="SELECT id, happened_at, changed_at, v, CONCAT(COALESCE(v, ''), id) AS k FROM notes",
        dimensions={"v": {"column": "v", "limit": 50}},
        measures={
            "n": {"agg": "count"},
            "different": {"agg": "distinct", "of": "v", "personal": False},
            "latest": {"agg": "last", "of": "v", "type": "text"},
        },
        rollups={"total": []},
        key="k",
    )
    shop.migrate(one)
    given = [text for text in TEXTS if _fits(texts, text)]
    for number, text in enumerate(given):
        shop.app.ask("INSERT INTO notes (id, happened_at, v) VALUES (%s, %s, %s)", [number, AT, text])
    run(shop, one)
    expected = {label_of(text): 1 for text in given}

    def found() -> dict[str, int]:
        return dict(shop.metrics.execute(f"SELECT v, n FROM metrics.{one.metric}_day").fetchall())

    assert found() == expected
    values = {text for text in given if text is not None}
    rows = shop.metrics.execute(f"SELECT different, latest FROM metrics.{one.metric}_total_day").fetchall()
    assert rows == [(len(values), max(values, key=lambda text: text.encode()))]
    # Cells that are touched later are found by their labels, whatever these are.
    for number, text in enumerate((max(values, key=len), None)):
        shop.app.ask("INSERT INTO notes (id, happened_at, v) VALUES (%s, %s, %s)", [100 + number, AT, text])
        expected[label_of(text)] += 1
    assert run(shop, one).cells >= 2
    assert found() == expected
    (compared,) = reconcile_metrics(shop.settings, [one], (AT - timedelta(hours=2), AT + timedelta(hours=1)))
    assert (compared.error, compared.different) == (None, 0)


def test_a_day_that_is_none_is_left_out_and_told(shop: MysqlWorld) -> None:
    shop.app.ask("CREATE TABLE daily (id int PRIMARY KEY, at datetime, changed datetime(6), KEY (at), KEY (changed))")
    shop.app.ask(f"GRANT SELECT ON daily TO {READER}")
    mode = shop.app.ask("SELECT @@sql_mode")[0][0]
    shop.app.ask("SET sql_mode = ''")
    try:
        times = [
            f"{AT:%Y-%m-%d %H:%M:%S}",
            f"{AT:%Y-%m}-00",
            f"{AT:%Y}-00-00",
            f"{AT:%Y}-00-07 01:02:03",
            "0000-00-00",
            None,
        ]
        for number, time in enumerate(times):
            shop.app.ask("INSERT INTO daily VALUES (%s, %s, UTC_TIMESTAMP(6))", [number, time])
        for number, changed in enumerate(["2999-00-00", f"{AT:%Y-%m}-00"]):
            shop.app.ask("INSERT INTO daily VALUES (%s, %s, %s)", [10 + number, times[0], changed])
        for key in (None, "id"):
            one = mysql_definition(
                f"daily_{key}".lower(),
                source_sql="SELECT id, at, changed FROM daily",
                event_time="at",
                change_time="changed",
                datetime_offset="UTC",
                dimensions={},
                measures={"n": {"agg": "count"}, "sum": {"agg": "sum", "of": "id"}},
                rollups={},
                key=key,
            )
            shop.migrate(one)
            for _ in range(2):
                run(shop, one)
                for grain in ("minute", "hour", "day"):
                    rows = shop.metrics.execute(f"SELECT n, sum FROM metrics.{one.metric}_{grain}").fetchall()
                    assert rows == [(3, 21)], grain
            held = {c.condition.name: c for standing in freshness(shop.settings, [one]) for c in standing.conditions}
            assert held["left_out"].count == 4
            assert held["unfollowed"].count == 2
    finally:
        shop.app.ask(f"SET sql_mode = '{mode}'")
        shop.app.ask("DROP TABLE daily")
