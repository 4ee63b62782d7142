"""MariaDB as a source: what is read of a real replica, what is left out, and what is refused."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from mysql_world import READER, App, MysqlWorld, mysql_definition
from pydantic import SecretStr
from rollup_world import KEY, QUICK, World, definition

from fleetgauge.analytics.parquet_days import store_of, write_days
from fleetgauge.errors import Stop, Terminal
from fleetgauge.rollup import Definition, RunReport, run_metrics
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.options import connect_metrics
from fleetgauge.rollup.operating.doctor import examine, for_production
from fleetgauge.rollup.operating.preview import preview_metrics
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.sketches import distinct
from fleetgauge.rollup.sources.mysql import MysqlSource
from fleetgauge.rollup.sources.port import Facts
from fleetgauge.settings import SourceSettings

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
AT = NOW - timedelta(hours=3)

ODD = """
CREATE TABLE odd (
    id bigint PRIMARY KEY, at datetime(3) NULL, changed datetime(6) NOT NULL, word varchar(40),
    old varchar(9) CHARACTER SET utf8mb3,
    big bigint unsigned, money decimal(30, 10), ratio double, paid tinyint(1), raw binary(4), KEY (at), KEY (changed)
)
"""
ODD_DEFINITION: dict[str, Any] = {
    "source_sql": "SELECT id, at, changed, word, old, big, money, ratio, paid FROM odd",
    "event_time": "at",
    "change_time": "changed",
    "datetime_offset": "+09:00",
    "dimensions": {"word": {"column": "word", "limit": 50}},
    "measures": {
        "n": {"agg": "count"},
        "exact": {"agg": "count", "where": {"word": "A"}},
        "paid": {"agg": "count", "where": {"paid": True}},
        "big": {"agg": "sum", "of": "big"},
        "money": {"agg": "sum", "of": "money"},
        "ratio": {"agg": "sum", "of": "ratio"},
        "sizes": {"agg": "tally", "of": "big"},
        "olds": {"agg": "distinct", "of": "old"},
        "latest": {"agg": "last", "of": "old", "type": "text"},
    },
    "rollups": {},
}


UNSERVED = "SELECT f.*, f.score AS scored_at FROM facts AS f"


@pytest.fixture(autouse=True)
def fresh(shop: MysqlWorld) -> None:
    shop.empty()


def test_a_read_of_counts_and_sums_is_right_at_every_grain(shop: MysqlWorld) -> None:
    one = mysql_definition("first_read")
    shop.migrate(one)
    for i in range(120):
        zone, state = ("a", "A", "a ", None)[i % 4], ("open", "done", "paid")[i % 3]
        shop.insert(NOW - timedelta(minutes=7 * i, seconds=i), zone=zone, length=i, state=state)
    ready(shop)
    report = shop.run(one)
    assert report.error is None
    assert report.source_lag_s is not None
    shop.assert_right(one)


def ready(shop: MysqlWorld) -> None:
    shop.beat()
    shop.catch_up()


# --- values that are odd ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(shop: MysqlWorld) -> Definition:
    """Times are of a clock nine hours ahead of UTC; NULLs, zero dates, and what a collation holds for the same."""
    shop.app.ask(ODD)
    shop.app.ask("GRANT SELECT ON odd TO fleetgauge_reader")
    shop.app.ask("SET sql_mode = ''")
    local, huge = (AT + timedelta(hours=9)).replace(tzinfo=None), 2**64 - 1
    rows = [
        (1, local, "A", "é", huge, "0.0000000001", 0.1, 1),
        (2, local, "A ", "é", 5, "12345678901234567890.1", 0.2, 0),
        (3, local, "a", "E", None, None, None, None),
        (4, local, "ä", None, 7, "1", -1e27, 1),
        (5, local, "(other)", "x", 7, "1", 1, 1),
        (6, local, "nul\0!", "x", 7, "1", 1, 1),
        (7, local, "", "x", 7, "1", 1, 1),
        (8, local, None, "x", 7, "1", 1, 1),
        (9, local, "A", "too large", 1, "1", 1e300, 1),
        (10, "0000-00-00", "A", "zero", 1, "1", 1, 1),
        (11, None, "A", "null", 1, "1", 1, 1),
        (12, local + timedelta(seconds=9), "A", "z", 5, "2", 0.7, 1),
        (13, local, "nul\ufffd!", "x", 7, "1", 1, 1),
    ]
    for row in rows:
        values = ", ".join(["%s"] * len(row))
        shop.app.ask(
            "INSERT INTO odd (id, at, word, old, big, money, ratio, paid, changed)"
            f" VALUES ({values}, UTC_TIMESTAMP(6) + INTERVAL 9 HOUR)",
            row,
        )
    shop.app.ask("UPDATE odd SET changed = '0000-00-00' WHERE id = 5")
    one = mysql_definition("odd", **ODD_DEFINITION)
    shop.migrate(one)
    return one


def test_odd_values_are_exact_or_left_out_by_reason(shop: MysqlWorld, odd: Definition) -> None:
    ready(shop)
    report = shop.run(odd)
    assert report.error is None
    rows = shop.metrics.execute(
        "SELECT word, n, exact, paid, big, money, ratio, latest, latest_at, sizes_unknown FROM metrics.odd_minute"
    ).fetchall()
    found = {row[0]: row[1:] for row in rows}
    nine = AT + timedelta(seconds=9)
    assert found["A"] == (2, 2, 2, 2**64 + 4, Decimal("2.0000000001"), Decimal("0.8"), "z", nine, 1)
    assert found["A "][:5] == (1, 0, 0, 5, Decimal("12345678901234567890.1"))
    assert found["a"] == (1, 0, 0, 0, 0, 0, "E", AT, 1)
    assert found["ä"][5] == Decimal("-1e27")
    assert set(found) == {"A", "A ", "a", "ä", r"\(other)", r"nul\u0000!", "nul\ufffd!", "", "(not set)"}
    ((olds,),) = shop.metrics.execute(
        f"SELECT olds::text FROM store.odd_minute__{odd.version} WHERE word = 'A'"
    ).fetchall()
    assert olds == distinct.sketch(["é", "z"], KEY)
    left = shop.metrics.execute(
        "SELECT split_part(reason, ' ', 1), sum(count)::int FROM fleetgauge.left_out WHERE metric = 'odd' GROUP BY 1"
    ).fetchall()
    assert dict(left) == {"ratio": 1, "at": 1}
    ((count, keys),) = shop.metrics.execute("SELECT count, keys FROM fleetgauge.unfollowed WHERE metric = 'odd'")
    assert count == 1 and len(keys) == 1 and "(other)" in keys[0]


def test_a_number_leads_back_to_its_rows(shop: MysqlWorld, odd: Definition) -> None:
    ready(shop)
    with looking(shop, odd) as facts:
        span = (AT, AT + timedelta(minutes=1))
        for label, count in (
            ("A", 2),
            ("(not set)", 1),
            (r"\(other)", 1),
            ("(other)", 0),
            ("nul\ufffd!", 1),
            (r"nul\u0000!", 1),
        ):
            rows = facts.source_rows(span, {"word": label})
            assert rows.count == count, label
            assert rows.query.startswith("SELECT s.* FROM")


@contextmanager
def looking(shop: MysqlWorld, one: Definition, **changes: Any) -> Iterator[Facts]:
    settings = shop.settings.source("shop").model_copy(update=changes)
    source = MysqlSource("shop", settings, key=KEY)
    try:
        with source.look(one) as facts:
            yield facts
    finally:
        source.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datetime_offset": None}, "datetime_offset"),
        ({"dialect": "postgres", "datetime_offset": None}, "add dialect: mysql"),
        ({"dimensions": {"word": {"column": "raw", "limit": 5}}}, r"write HEX\(raw\) AS raw"),
        ({"measures": {"sum": {"agg": "sum", "of": "word"}}}, r"CAST\(word AS DECIMAL"),
        ({"measures": {"n": {"agg": "count", "where": {"big": "7"}}}}, "cannot be compared"),
        ({"source_sql": "SELECT id, att AS at, changed, word FROM odd"}, "att"),
        ({"source_sql": "SELECT id, at, changed, word FROM fleetgauge_secrets"}, "fleetgauge_secrets"),
    ],
)
def test_columns_that_do_not_fit_are_named(
    shop: MysqlWorld, odd: Definition, changes: dict[str, Any], said: str
) -> None:
    ready(shop)
    source_sql = "SELECT id, at, changed, word, old, big, money, ratio, paid, raw FROM odd"
    one = mysql_definition("odd", **{**ODD_DEFINITION, "source_sql": source_sql, **changes})
    with pytest.raises((Terminal, Stop), match=said), looking(shop, one):
        pass


# --- a server that is no replica, lags, or breaks off -----------------------------------------------------------------


def test_a_primary_is_refused_unless_that_is_allowed(shop: MysqlWorld) -> None:
    one = mysql_definition("guarded")
    ready(shop)
    url = shop.reader_url("primary")
    with pytest.raises(Stop, match="may be written"), looking(shop, one, url=SourceSettings(url=url).url):
        pass
    with looking(shop, one, url=SourceSettings(url=url).url, allow_primary=True) as facts:
        assert facts.source_watermark is not None


def test_a_replica_promoted_between_two_looks_is_not_read_again(shop: MysqlWorld) -> None:
    one = mysql_definition("promoted")
    shop.migrate(one)
    shop.insert(AT)
    ready(shop)

    def act(look: int, facts: Any) -> None:
        if look == 1:
            shop.replica.ask("SET GLOBAL read_only = OFF")

    try:
        with pytest.raises(Stop, match="promoted"):
            engine_run(shop, one, act)
        assert shop.stored(one, "minute") == {}
    finally:
        shop.replica.ask("SET GLOBAL read_only = ON")
    assert shop.run(one).error is None
    shop.assert_right(one)


def engine_run(shop: MysqlWorld, one: Definition, act: Callable[[int, Any], None]) -> RunReport:
    class Interrupted(MysqlSource):
        looks = 0

        @contextmanager
        def look(self, definition: Definition) -> Iterator[Facts]:
            with super().look(definition) as facts:
                self.looks += 1
                act(self.looks, facts)
                yield facts

    source = Interrupted("shop", shop.settings.source("shop"), key=KEY)
    try:
        return Engine(one, source, lambda: connect_metrics(shop.settings.metrics, QUICK), QUICK).run("minute")
    finally:
        source.close()


def _kill(shop: MysqlWorld) -> None:
    for (number,) in shop.replica.ask("SELECT id FROM information_schema.processlist WHERE user = 'fleetgauge_reader'"):
        shop.replica.ask(f"KILL {number}")


def _alter(shop: MysqlWorld) -> None:
    """The snapshot is of a table that is another one by now. The reader's transaction must not hold it."""
    altered = threading.Thread(target=App(shop.mariadb, "primary", shop.name).ask, args=["ALTER TABLE facts FORCE"])
    altered.start()
    altered.join()
    with suppress(AssertionError):
        shop.catch_up(3)


@pytest.mark.parametrize("what", [_kill, _alter], ids=["kill", "ddl"])
def test_what_breaks_a_look_off_costs_a_piece_at_most(shop: MysqlWorld, what: Callable[[MysqlWorld], None]) -> None:
    one = mysql_definition(f"broken{what.__name__}")
    shop.migrate(one)
    for i in range(30):
        shop.insert(NOW - timedelta(minutes=7 * i), length=i)
    ready(shop)
    report = engine_run(shop, one, lambda look, _: what(shop) if look == 2 else None)
    assert report.error is None
    assert report.conflicts >= (what is _kill)
    shop.assert_right(one)


def test_a_replica_that_stands_still_closes_nothing(shop: MysqlWorld) -> None:
    one = mysql_definition("still")
    shop.migrate(one)
    shop.insert(AT)
    ready(shop)
    assert shop.run(one).error is None
    done = shop.ledger(one, "minute")
    shop.replica.ask("STOP SLAVE SQL_THREAD")
    try:
        shop.insert(AT)
        shop.beat()
        assert shop.run(one).error is None
        assert shop.ledger(one, "minute") == done
        said = [f.said for f in examine(shop.settings, {one.metric: one}, {}) if f.about == "source shop"]
        assert any("its replication stands still (SQL thread" in one for one in said), said
    finally:
        shop.replica.ask("START SLAVE SQL_THREAD")
    ready(shop)
    assert shop.run(one).error is None
    shop.assert_right(one)


def test_a_transaction_that_is_open_holds_the_watermark(shop: MysqlWorld) -> None:
    """Also when it has only been prepared, and nobody's session is left."""
    for begin, end in (("BEGIN", "ROLLBACK"), ("XA START 'x'", "XA ROLLBACK 'x'")):
        app = App(shop.mariadb, "primary", shop.name)
        app.ask(begin)
        shop.insert(AT, app)
        began = datetime.now(UTC)
        if begin != "BEGIN":
            app.ask("XA END 'x'")
            app.ask("XA PREPARE 'x'")
            app.close()
            app = App(shop.mariadb, "primary", shop.name)
        try:
            later = threading.Event()
            later.wait(2.5)  # beyond the second that every heartbeat allows for
            shop.beat()
            assert shop.heartbeat() <= began
        finally:
            app.ask(end)
            app.close()


# --- what people see --------------------------------------------------------------------------------------------------


def test_doctor_and_plan_speak_of_it(shop: MysqlWorld) -> None:
    one = mysql_definition("looked_at")
    shop.migrate(one)
    shop.insert(AT)
    ready(shop)
    found = {f.said: f.status for f in examine(shop.settings, {one.metric: one}, {}) if f.about == "source shop"}
    assert found["is a replica"] == "ok"
    assert found["its login may only read"] == "ok"
    assert found["has an index for every time that is looked up"] == "ok"
    assert "fail" not in found.values(), found
    sql = for_production(shop.settings, {one.metric: replace(one, event_time="scored_at", source_sql=UNSERVED)})
    assert "CREATE EVENT IF NOT EXISTS fleetgauge_beat" in sql
    assert "ALTER TABLE facts ADD INDEX ix_facts_score (score)" in sql
    (plan,) = preview_metrics(shop.settings, [one], RunRequest("minute"), options=QUICK)
    assert plan.error is None
    assert plan.minutes > 0


def test_a_wrong_password_is_refused_and_never_told(shop: MysqlWorld) -> None:
    url = SecretStr(shop.mariadb.url("replica", "fleetgauge_reader", "quite-secret", shop.name))
    with (
        pytest.raises(Stop, match=r"refused the login.*sources\.shop\.url") as told,
        looking(shop, mysql_definition("refused"), url=SourceSettings(url=url).url),
    ):
        pass
    assert "quite-secret" not in str(told.value)


def test_without_tls_a_server_is_not_trusted(shop: MysqlWorld) -> None:
    url = SecretStr(shop.reader_url().get_secret_value().removesuffix("?ssl_mode=disabled"))
    with (
        pytest.raises(Stop, match=r"not trusted.*ssl_mode"),
        looking(shop, mysql_definition("plain"), url=SourceSettings(url=url).url),
    ):
        pass


def test_two_named_sources_meet_in_one_query_over_their_exports(world: World, shop: MysqlWorld, tmp_path: Path) -> None:
    """Postgres and MariaDB, each by its own replica, as Parquet, joined by DuckDB."""
    orders, rides = mysql_definition("order_of"), definition("ride_of")
    shop.migrate(orders, rides)
    for i in range(40):
        shop.insert(NOW - timedelta(hours=2 * i), length=i)
        world.insert(NOW - timedelta(hours=3 * i), length=1)
    for one in (world, shop):
        one.beat()
        one.catch_up()
    reports = run_metrics(shop.settings, [orders, rides], "minute", options=QUICK)
    assert [report.error for report in reports] == [None, None]
    today = NOW.astimezone(ZoneInfo("Asia/Seoul")).date()
    store, root = store_of(str(tmp_path))
    for metric in ("order_of", "ride_of"):
        first, until = today - timedelta(days=9), today + timedelta(days=1)
        assert list(write_days(world.metrics, metric, "day", first, until, store, root))
    found = duckdb.sql(
        f"""
        WITH orders AS (SELECT date, sum(n) AS orders FROM '{tmp_path}/order_of_day/*/*.parquet' GROUP BY date),
        rides AS (SELECT date, sum(length) AS metres FROM '{tmp_path}/ride_of_day/*/*.parquet' GROUP BY date)
        SELECT date, orders, metres FROM orders JOIN rides USING (date) ORDER BY date
        """
    ).fetchall()
    days = [dict[Any, int](), dict[Any, int]()]
    for i in range(40):
        for of, hours in zip(days, (2, 3), strict=True):
            day = (NOW - timedelta(hours=hours * i)).astimezone(ZoneInfo("Asia/Seoul")).date()
            of[day] = of.get(day, 0) + 1
    assert found == [(day, days[0][day], days[1][day]) for day in sorted(set(days[0]) & set(days[1]))]
    assert len(found) >= 3


BEHIND = """
CREATE VIEW behind_recent AS SELECT * FROM odd WHERE at > NOW() - INTERVAL 1 HOUR;
CREATE VIEW behind_nested AS SELECT * FROM behind_recent WHERE word <> 'x';
CREATE FUNCTION behind_chance(word TEXT) RETURNS TEXT NO SQL RETURN word;
CREATE FUNCTION behind_recently(at DATETIME) RETURNS BOOLEAN READS SQL DATA RETURN at > NOW() - INTERVAL 1 HOUR;
CREATE FUNCTION behind_plain(word TEXT) RETURNS TEXT DETERMINISTIC RETURN word;
CREATE VIEW behind_called AS SELECT * FROM odd WHERE behind_chance(word) <> 'x';
CREATE VIEW behind_fine AS SELECT * FROM odd WHERE behind_plain(word) <> 'x'
"""


@pytest.mark.parametrize(
    "source, said",
    [
        ("behind_recent", "view {}.behind_recent: current_timestamp gives another value each time"),
        ("{}.behind_nested", "view {}.behind_recent: current_timestamp gives another value each time"),
        ("behind_called", "function {}.behind_chance: is NOT DETERMINISTIC"),
        ("odd WHERE behind_recently(at)", "function {}.behind_recently: is NOT DETERMINISTIC"),
        ("behind_fine", ""),
    ],
)
def test_a_view_counts_from_today_no_more_than_source_sql(
    shop: MysqlWorld, odd: Definition, source: str, said: str
) -> None:
    for statement in BEHIND.split(";"):
        name = statement.split()[2].partition("(")[0]
        shop.app.ask(f"DROP {statement.split()[1]} IF EXISTS {name}")
        shop.app.ask(statement)
    ((database,),) = shop.app.ask("SELECT DATABASE()")
    shop.app.ask(f"GRANT SELECT, SHOW VIEW, EXECUTE ON {database}.* TO {READER}")
    ready(shop)
    one = mysql_definition("odd", **{**ODD_DEFINITION, "source_sql": f"SELECT *\nFROM {source.format(database)}"})
    try:
        with looking(shop, one):
            refused = ""
    except Terminal as error:
        refused = str(error)
    assert said.replace("{}", database) in refused and bool(said) == bool(refused)
