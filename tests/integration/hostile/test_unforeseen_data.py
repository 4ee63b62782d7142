"""Rows that nobody foresaw: they are in no number, and are counted and named; columns that do not fit are refused."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest
from rollup_world import QUICK, World, definition

from fleetgauge.rollup import Definition, RunReport
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.preview import preview_metrics
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.plan.request import RunRequest

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
GRAINS = ("minute", "hour", "day")


@pytest.fixture(autouse=True)
def empty(world: World) -> None:
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")


def run(world: World, one: Definition) -> RunReport:
    world.beat()
    world.catch_up()
    return world.run(one)


def totals(world: World, one: Definition, expression: str) -> list[Any]:
    """The same at minute, hour and day."""
    return [
        world.metrics.execute(f"SELECT {expression} FROM metrics.{one.metric}_{grain}").fetchone()[0]
        for grain in GRAINS
    ]


def told(world: World, one: Definition) -> tuple[set[str], str, str]:
    """Verdicts of freshness, what doctor warns of, and the exporter's page."""
    verdicts = {found.verdict for found in freshness(world.settings, [one])}
    warned = "\n".join(f.said for f in examine(world.settings, {one.metric: one}, {}) if f.status != "ok")
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, {one.metric: one}))
    return verdicts, warned, generate_latest(registry).decode()


@fault(
    "A fare is NaN, infinite, or larger than any money",
    number="without these rows, and equal to the source without them",
    freshness="warn, with the column and some keys",
    doctor="warn, with the column and some keys",
    exporter="fleetgauge_rollup_left_out_rows",
    exit_code="0",
)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e300"])
def test_a_number_that_is_none_is_left_out_and_told(world: World, value: str) -> None:
    one = definition(f"nan_{abs(hash(value)) % 10**8}")
    world.migrate(one)
    bad = [world.insert(SAME, state="done", amount=Decimal(5)), world.insert(SAME, state="done", amount=Decimal(value))]
    world.insert(SAME, state="done", amount=Decimal(7), score=2.0)
    report = run(world, one)
    assert report.error is None and "amount is not finite or too large" in " ".join(report.warnings)
    assert totals(world, one, "sum(amount)") == [Decimal(12)] * 3
    assert totals(world, one, "sum(n)") == [2] * 3
    verdicts, warned, page = told(world, one)
    assert "ok" not in verdicts and "1 row(s) are in no number, amount" in warned
    assert (
        f'fleetgauge_rollup_left_out_rows{{metric="{one.metric}",reason="amount is not finite or too large"}} 1.0'
        in page
    )
    compared = reconcile_metrics(world.settings, [one], (SAME - timedelta(hours=1), NOW), dry_run=True)[0]
    assert compared.error is None and compared.different == 0
    world.change(bad[1], amount=Decimal(8))
    report = run(world, one)
    assert totals(world, one, "sum(amount)") == [Decimal(20)] * 3
    assert "left_out_rows{" not in told(world, one)[2]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_so_is_a_float(world: World, score: float) -> None:
    one = definition(f"float_{abs(hash(str(score))) % 10**8}")
    world.migrate(one)
    world.insert(SAME, score=score)
    world.insert(SAME, score=2.0)
    assert run(world, one).error is None
    assert totals(world, one, "max(most)") == [2.0] * 3 and totals(world, one, "sum(n)") == [1] * 3


def test_sums_that_would_overflow_leave_the_absurd_rows_out(world: World) -> None:
    one = definition(
        "huge",
        source_sql="SELECT happened_at, changed_at, zone, kind, state, (amount)::bigint AS v FROM facts",
        measures={"n": {"agg": "count"}, "v": {"agg": "sum", "of": "v", "type": "integer"}},
    )
    world.migrate(one)
    for amount in (2**63 - 1, 2**63 - 1, 5):
        world.insert(SAME, amount=amount)
    assert run(world, one).error is None
    assert totals(world, one, "sum(v)") == [5] * 3


@fault(
    "Rows are of the year 0202, of 294276, or at infinity",
    number="without these rows; history begins with the first possible one",
    freshness="warn, with some keys",
    doctor="warn, with some keys",
    exporter="fleetgauge_rollup_left_out_rows",
    exit_code="0",
)
def test_an_absurd_time_drags_no_history_along(world: World) -> None:
    one = definition("absurd")
    world.migrate(one)
    world.insert(SAME)
    for at in ("0202-03-04", "-infinity", "infinity", "294276-01-01", "0044-03-15 BC"):
        world.app.execute(
            "INSERT INTO facts (happened_at, zone, kind, state, amount, length, score)"
            " VALUES (%s, 'a', 'x', 'done', 1, 1, 1)",
            [at],
        )
    report = run(world, one)
    assert report.error is None and "5 row(s) left out, happened_at is no time of a fleet" in " ".join(report.warnings)
    assert totals(world, one, "sum(n)") == [1] * 3
    tables = world.metrics.execute(
        "SELECT count(*) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent"
        " WHERE c.relkind = 'p' AND c.relname LIKE 'absurd%'"
    ).fetchone()[0]
    assert tables == len(one.levels)
    verdicts, warned, page = told(world, one)
    assert "ok" not in verdicts and "0202-03-04" in warned and "happened_at is no time of a fleet" in page


def test_which_times_are_possible_is_the_metrics_own_word(world: World) -> None:
    earliest = (NOW - timedelta(days=1000)).date()
    one = definition("accepting", accepts={"earliest": earliest})
    world.migrate(one)
    world.insert(NOW - timedelta(days=2000))
    world.insert(SAME)
    report = run(world, one)
    assert report.error is None and "1 row(s) left out, happened_at is no time of a fleet" in " ".join(report.warnings)
    assert totals(world, one, "sum(n)") == [1] * 3


def test_a_gap_of_years_has_no_partitions(world: World) -> None:
    one = definition("gap")
    world.migrate(one)
    world.insert(NOW - timedelta(days=2000))
    world.insert(SAME)
    assert run(world, one).error is None
    minutes = world.metrics.execute(
        "SELECT count(*) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent"
        " WHERE c.relkind = 'p' AND c.relname LIKE 'gap_minute%'"
    ).fetchone()[0]
    assert minutes == 2 and totals(world, one, "sum(n)") == [2] * 3


def test_a_sum_of_fractions_is_exact_where_no_type_is_given(world: World) -> None:
    one = definition("fractions", measures={"n": {"agg": "count"}, "v": {"agg": "sum", "of": "amount"}})
    world.migrate(one)
    world.app.execute(
        "INSERT INTO facts (happened_at, zone, kind, state, amount, length, score)"
        " SELECT %s, 'a', 'x', 'done', 0.4, 1, 1 FROM generate_series(1, 1000)",
        [SAME],
    )
    assert run(world, one).error is None
    assert totals(world, one, "sum(v)") == [Decimal(400)] * 3


def plain(columns: str) -> str:
    return f"SELECT {columns} FROM facts"


BASE = "happened_at, changed_at, zone, kind, state, amount, length, score"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"source_sql": plain(BASE.replace("happened_at,", "happened_at::timestamp AS happened_at,"))},
            "event_time: happened_at is a timestamp without time zone, which names no instant; write",
        ),
        (
            {"source_sql": plain(BASE.replace("changed_at,", "changed_at::timestamp AS changed_at,"))},
            "change_time: changed_at is a timestamp without time zone",
        ),
        ({"measures": {"v": {"agg": "min", "of": "state"}}}, "measures.v.of: state is text, and min needs numbers"),
        (
            {"measures": {"v": {"agg": "last", "of": "state"}}},
            "measures.v.of: state is text, and last needs numbers; write type: text",
        ),
        ({"measures": {"v": {"agg": "percentile", "of": "state"}}}, "measures.v.of: state is text, and percentile"),
        ({"measures": {"v": {"agg": "sum", "of": "state"}}}, "measures.v.of: state is text, and sum needs numbers"),
        ({"measures": {"v": {"agg": "sum", "of": "changed_at"}}}, "write extract(epoch FROM changed_at)"),
        ({"measures": {"v": {"agg": "sum", "of": "amount", "type": "integer"}}}, "type integer would round each row"),
        (
            {"measures": {"v": {"agg": "sum", "of": "amout"}}},
            "source.sql returns no column amout; did you mean amount?",
        ),
        ({"measures": {"v": {"agg": "count", "where": {"state": 5}}}}, "state is text, and cannot be compared with 5"),
        (
            {"measures": {"v": {"agg": "count", "where": {"length": "x"}}}},
            "length is int4, and cannot be compared with 'x'",
        ),
        (
            {"source_sql": "SELECT happened_at, changed_at,\n zone, knd FROM facts"},
            'source.sql:2: column "knd" does not exist',
        ),
        ({"source_sql": plain(BASE + ", kind")}, "source.sql returns two columns kind"),
        (
            {"dimensions": {"paid": {"column": "amount", "limit": 9}}, "rollups": {}},
            "dimensions.paid.column: amount is numeric without scale, of which one number has several texts",
        ),
        ({"measures": {"v": {"agg": "distinct", "of": "score"}}}, "measures.v.of: score is float8, of which"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_plan_and_run(world: World, changes: dict[str, Any], said: str) -> None:
    one = definition("unfit", **changes)
    world.migrate(one)
    world.insert(SAME)
    report = run(world, one)
    assert report.severity == "terminal" and said in (report.error or "")
    (seen,) = preview_metrics(world.settings, [one], RunRequest("minute", None))
    assert said in (seen.error or "") and "sql/metrics/unfit/" in (seen.error or "")


def test_a_number_of_so_many_decimals_is_one_value(world: World) -> None:
    two = plain(BASE.replace("amount", "amount::numeric(20, 2) AS amount"))
    one = definition("even", source_sql=two, dimensions={"paid": {"column": "amount", "limit": 9}}, rollups={})
    world.migrate(one)
    for amount in ("1", "1.0", "1.00"):
        world.insert(SAME, amount=Decimal(amount))
    assert run(world, one).error is None
    for grain in ("minute", "hour", "day"):
        rows = world.metrics.execute(f"SELECT paid, sum(n) FROM metrics.even_{grain} GROUP BY 1").fetchall()
        assert rows == [("1.00", 3)]


@fault(
    "A minute's sum of whole numbers is larger than 64 bits can add up",
    number="that cell keeps its old row; all others are right",
    freshness="error, with the cell and the bound",
    doctor="fail, with the cell and the bound",
    exporter="fleetgauge_rollup_blocked_windows",
    exit_code="1",
)
def test_a_sum_beyond_64_bits_blocks_its_cell_alone(world: World) -> None:
    one = definition(
        "vast",
        source_sql="SELECT happened_at, changed_at, zone, kind, state, (amount)::bigint AS v FROM facts",
        measures={"n": {"agg": "count"}, "v": {"agg": "sum", "of": "v", "type": "integer"}},
    )
    world.migrate(one)
    world.insert(SAME, zone="b", amount=5)
    world.insert(SAME, amount=7)
    assert run(world, one).error is None
    for of in (10**15, -(10**15)):
        world.app.execute(
            "INSERT INTO facts (happened_at, zone, kind, state, amount) SELECT %s, 'a', 'x', 'done', %s"
            " FROM generate_series(1, 9300)",
            [SAME, of],
        )
        report = run(world, one)
        assert report.error is None and [b.window_start for b in report.blocked] == [SAME]
        assert totals(world, one, "sum(v)") == [12] * 3
        verdicts, warned, page = told(world, one)
        assert verdicts == {"error"} and "6000000000000000" in warned
        assert f'fleetgauge_rollup_blocked_windows{{metric="{one.metric}"}} 1.0' in page
        compared = reconcile_metrics(world.settings, [one], (SAME - timedelta(hours=1), NOW), dry_run=True)[0]
        assert compared.error is None and compared.different == 0
        world.app.execute("DELETE FROM facts WHERE abs(amount) = 1e15 AND id % 3 <> 0")
        world.app.execute("UPDATE facts SET amount = sign(amount), changed_at = now() WHERE abs(amount) = 1e15")
        left = world.app.execute("SELECT sum(amount)::bigint FROM facts").fetchone()[0]
        assert run(world, one).blocked == ()
        assert totals(world, one, "sum(v)") == [left] * 3
        assert told(world, one)[0] == {"ok"}
        world.app.execute("DELETE FROM facts WHERE abs(amount) = 1")
        assert run(world, one).error is None
        span = (SAME, SAME + timedelta(hours=1))
        found = reconcile_metrics(world.settings, [one], span, options=QUICK, anew=True, accept_losses=True)[0]
        assert (found.error, found.different) == (None, 1)


@fault(
    "A `where` of metric.yaml names a value that the column's enum does not have, such as after a rename",
    number="as before: the run ends before it reads",
    freshness="error: its last run failed, with metric.yaml's line and the values there are",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="78 of run",
)
def test_a_value_that_an_enum_lacks_is_named_with_its_line(world: World) -> None:
    world.app.execute("DROP TYPE IF EXISTS life; CREATE TYPE life AS ENUM ('open', 'done', 'paid')")
    columns = "id, happened_at, changed_at, zone, kind, amount, length, score"
    cast = f"SELECT {columns}, state::life AS state, gen_random_uuid() AS trip FROM facts"
    measures = {"n": {"agg": "count"}, "open": {"agg": "count", "where": {"state": "open"}}}
    lines = {"measures.ended.where.state": 17, "measures.tripped.where.trip": 23}
    try:
        one = definition("enumed", source_sql=cast, measures=measures, lines=lines)
        world.migrate(one)
        world.insert(SAME)
        assert run(world, one).error is None
        assert totals(world, one, "sum(open)") == [1, 1, 1]
        for wrong, where, said in (
            ({"state": "opened"}, "state", 'enum life: "opened"; it can be open, done, paid'),
            ({"state": ["open", "opened"]}, "state", 'enum life: "opened"'),
            ({"state": {"ne": 5}}, "state", "it can be open, done, paid"),
            ({"trip": "none"}, "trip", 'type uuid: "none"; write a value of its type, uuid'),
        ):
            name = "ended" if where == "state" else "tripped"
            bad = {**measures, name: {"agg": "count", "where": wrong}}
            other = definition("enumed", source_sql=cast, measures=bad, lines=lines)
            world.migrate(other)
            report = run(world, other)
            assert report.severity == "terminal"
            assert report.error is not None and said in report.error
            path = f"measures.{name}.where.{where}"
            assert report.error.startswith(f"sql/metrics/enumed/metric.yaml:{lines[path]}: {path}")
            verdicts, warned, page = told(world, other)
            assert "error" in verdicts and said in warned
            assert 'fleetgauge_rollup_condition{condition="failing",metric="enumed"} 1.0' in page
            assert totals(world, other, "sum(open)") == [1, 1, 1]
    finally:
        world.app.execute("DROP TYPE life")
