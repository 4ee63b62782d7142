"""source.sql of MariaDB as the metrics database reads it, or a sentence where it would read something else."""

import pytest
from pydantic import TypeAdapter

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition
from fleetgauge.rollup.metric_tests.translated import in_postgres

CLOCK = "(CAST(d AS TIMESTAMP) AT TIME ZONE {} AT TIME ZONE {})"


def shop(source_sql: str, offset: str | None = None) -> Definition:
    return TypeAdapter(Definition).validate_python(
        {
            "metric": "orders",
            "source": "shop",
            "dialect": "mysql",
            "datetime_offset": offset,
            "event_time": "at",
            "measures": {"n": {"agg": "count"}},
            "source_sql": source_sql,
        }
    )


@pytest.mark.parametrize(
    ("mysql", "postgres"),
    [
        ("CONVERT_TZ(d, '+09:00', '+00:00')", CLOCK.format("CAST('+09:00' AS INTERVAL)", "CAST('+00:00' AS INTERVAL)")),
        ("CONVERT_TZ(d, '-3:30', 'Asia/Seoul')", CLOCK.format("CAST('-3:30' AS INTERVAL)", "'Asia/Seoul'")),
        (
            "CONVERT_TZ(CONVERT_TZ(d, 'UTC', '+01:00'), '+02:00', 'UTC')",
            CLOCK.replace("(d ", f"({CLOCK} ").format(
                "'UTC'", "CAST('+01:00' AS INTERVAL)", "CAST('+02:00' AS INTERVAL)", "'UTC'"
            ),
        ),
        ("IFNULL(`d`, e)", 'COALESCE("d", e)'),
    ],
)
def test_clocks_keep_their_sign(mysql: str, postgres: str) -> None:
    found = in_postgres(shop(f"SELECT {mysql} AS at FROM orders", "UTC"))
    assert found.source_sql == f"SELECT CAST({postgres} AS TIMESTAMPTZ) AS at FROM orders"
    assert (found.dialect, found.datetime_offset) == ("postgres", None)


@pytest.mark.parametrize(
    ("mysql", "offset"),
    [
        ("CONVERT_TZ(d, zone, '+00:00')", None),
        ("CONVERT_TZ(d, 'SYSTEM', '+00:00')", None),
        ("CONVERT_TZ(d, '+00:00', 'UTC+9')", "UTC"),
        ("CONVERT_TZ(d, '+00:00', '+09:00')", "+09:00"),
    ],
)
def test_clocks_that_would_be_others_are_refused(mysql: str, offset: str | None) -> None:
    with pytest.raises(Terminal, match=r"CONVERT_TZ.*datetime_offset"):
        in_postgres(shop(f"SELECT {mysql} AS at FROM orders", offset))
