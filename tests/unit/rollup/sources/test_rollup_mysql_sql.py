"""What is asked of MariaDB, word by word, and how answers become rows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pydantic import TypeAdapter

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.render import render
from fleetgauge.rollup.sources import mysql_sql
from fleetgauge.rollup.sources.mysql_parts import SourceColumns
from fleetgauge.rollup.sources.mysql_rows import Gathered

AT = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
SPAN = (AT, AT + timedelta(minutes=1))
ONE: Definition = TypeAdapter(Definition).validate_python(
    {
        "metric": "orders",
        "source": "shop",
        "dialect": "mysql",
        "datetime_offset": "+09:00",
        "event_time": "at",
        "change_time": "changed",
        "dimensions": {"zone": {"column": "zone", "limit": 9}},
        "measures": {
            "n": {"agg": "count", "where": {"kind": "A"}},
            "paid": {"agg": "sum", "of": "amount"},
            "delay": {"agg": "percentile", "of": "delay"},
        },
        "source_sql": "SELECT * FROM orders",
    }
)
COLUMNS = SourceColumns(ONE, {"at": "datetime", "changed": "timestamp", "kind": "text", "amount": "double"})
ZONE = "CAST(CAST(s.`zone` AS CHAR CHARACTER SET utf8mb4) AS BINARY)"
HEAD = "CAST(LEFT(CAST(s.`zone` AS CHAR CHARACTER SET utf8mb4), 64) AS BINARY)"
SORTED = f"LEFT(IF(OCTET_LENGTH({ZONE}) > 400, CONCAT({HEAD}, X'ff', SHA2({ZONE}, 256)), {ZONE}), 400)"


def test_the_numbers_of_a_minute() -> None:
    """The column's own clock is nine hours ahead; texts are compared as bytes, doubles added up as decimals."""
    said = mysql_sql.numbers(COLUMNS, COLUMNS.within([SPAN]), mysql_sql.by_minute(COLUMNS))
    limit = 10**28 - 1
    assert said == (
        "SELECT TIMESTAMPDIFF(MINUTE, TIMESTAMP'1000-01-01 00:00:00', s.`at`) AS _window, "
        f"{SORTED} AS _d0, "
        "COUNT(CASE WHEN CAST(CAST(s.`kind` AS CHAR CHARACTER SET utf8mb4) AS BINARY) = CAST('A' AS BINARY)"
        " THEN 1 END) AS `n`, "
        "COALESCE(SUM(CASE WHEN TRUE THEN CAST(s.`amount` AS DECIMAL(65, 30)) END), 0) AS `paid` "
        "FROM (\nSELECT * FROM orders\n) AS s WHERE "
        "(((s.`at` >= TIMESTAMP'2026-11-21 14:00:00.000000' AND s.`at` < TIMESTAMP'2026-11-21 14:01:00.000000'))"
        " AND (MONTH(s.`at`) > 0 AND DAYOFMONTH(s.`at`) > 0))"
        f" AND (s.`amount` BETWEEN -{limit} AND {limit}) IS NOT FALSE"
        f" AND (s.`delay` BETWEEN -{limit} AND {limit}) IS NOT FALSE GROUP BY 1, 2"
    )
    assert COLUMNS.instant("at", COLUMNS.number_of("at", AT)) == AT


def test_changes_are_looked_up_by_the_columns_themselves() -> None:
    said = mysql_sql.touched(COLUMNS, AT, None)
    assert "WHERE s.`changed` >= TIMESTAMP'2026-11-21 05:00:00.000000'" in said
    assert "s.`at` >= TIMESTAMP'2000-01-01 09:00:00.000000'" in said


def test_labels_lead_back_to_values() -> None:
    assert COLUMNS.labelled("zone", ["it's"]) == rf"({ZONE} IN (CAST('it\'s' AS BINARY)))"
    assert COLUMNS.labelled("zone", ["(not set)"]) == "(s.`zone` IS NULL)"
    assert COLUMNS.labelled("zone", ["(other)"]) == "(FALSE)"
    assert COLUMNS.labelled("zone", [r"\(other)"]) == f"({ZONE} IN (CAST('(other)' AS BINARY)))"
    assert COLUMNS.labelled("zone", ["a\ufffd"]) == f"({ZONE} IN (CAST('a\ufffd' AS BINARY)))"
    assert COLUMNS.labelled("zone", [r"a\u0000"]) == rf"({ZONE} IN (CAST('a\0' AS BINARY)))"


def test_numbers_and_counts_of_values_come_together_by_window_and_dimensions() -> None:
    found = Gathered(ONE.columns, 1, lambda number: AT + timedelta(minutes=number))
    numeric = mysql_sql.numeric(COLUMNS)
    found.numbers(numeric, [(0, b"a\0", 1, Decimal("0.500000000000000000000000000000")), (0, "a\ufffd".encode(), 2, 1)])
    found.values(ONE.columns[2], [(0, b"a\0", 7, 2), (0, "a\ufffd".encode(), 7, 1), (1, None, 9, 1)], None)
    assert found.rows == [
        (AT, r"a\u0000", 1, Decimal("0.5"), [7, 2]),
        (AT, "a\ufffd", 2, 1, [7, 1]),
        (AT + timedelta(minutes=1), "(not set)", 0, 0, [9, 1]),
    ]


def test_what_would_be_asked_can_be_read() -> None:
    said = render(ONE, "windows", "minute", AT)
    assert said.count(";") == 2  # the numbers, and the sketch
    assert "GROUP BY 1, 2, 3" in said
    assert "LN((s.`delay` + 0e0))" in said
