"""What may stand in a source.sql of MariaDB or MySQL."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fleetgauge.rollup import Definition
from fleetgauge.rollup.definitions.source_sql import problems

PLAIN = {
    "metric": "orders", "source": "shop", "dialect": "mysql", "event_time": "at",
    "measures": {"n": {"agg": "count"}}, "source_sql": "SELECT at FROM orders",
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "SELECT `at`, IF(paid, 1, 0) AS paid FROM orders # a remark",
        'SELECT at, CONVERT_TZ(d, "+09:00", "+00:00") AS d FROM shop.orders WHERE kind <> "now()" AND x REGEXP "^a"',
        "SELECT at, UNIX_TIMESTAMP(at) AS s, GROUP_CONCAT(kind) AS kinds FROM orders GROUP BY at;",
        "SELECT at, (SELECT h.zone FROM h WHERE h.at <= o.at ORDER BY h.at DESC LIMIT 1) AS zone FROM orders AS o",
    ],
)
def test_a_plain_select_is_taken(text: str) -> None:
    assert problems(text, "mysql") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT at\nFROM orders WHERE at < now()", "now gives another value"),
        ("SELECT at, RAND() AS r FROM orders", "RAND gives another value"),
        ("SELECT at, UUID() AS u FROM orders", "UUID gives another value"),
        ("SELECT at, UTC_TIMESTAMP AS u FROM orders", "UTC_TIMESTAMP gives another value"),
        ("SELECT at, UNIX_TIMESTAMP() AS u FROM orders", "unix_timestamp with no argument"),
        ("SELECT at, SLEEP(9) AS u FROM orders", "SLEEP does more"),
        ("SELECT at, LOAD_FILE('/etc/passwd') AS u FROM orders", "LOAD_FILE does more"),
        ("SELECT at, @x AS u FROM orders", "parameters"),
        ("SELECT at, @@global.read_only AS u FROM orders", "parameters"),
        ("SELECT at, row_number() OVER (ORDER BY at) AS u FROM orders", "no window function"),
        ("SELECT at FROM orders /*!50000 INTO OUTFILE '/tmp/x' */", "run what stands in it"),
        ("SELECT at FROM orders /*M! LIMIT 1 */", "run what stands in it"),
        ("SELECT at INTO @x FROM orders", "must only read"),
        ("SELECT at FROM orders LOCK IN SHARE MODE", "must only read"),
        ("SELECT at FROM orders LIMIT 5", "LIMIT"),
        ("DELETE FROM orders", "exactly one SELECT"),
        ("SELECT at FROM `orders", "not closed"),
    ],
)
def test_what_must_not_stand_there_is_named_with_its_line(text: str, said: str) -> None:
    found = problems(text, "mysql")
    assert any(said in problem for _, problem in found), found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datetime_offset": "Asia/Seoul"}, "is not UTC or an offset"),
        ({"datetime_offset": "+9:00"}, "is not UTC or an offset"),
        ({"dialect": "oracle"}, "mysql"),
        ({"dialect": "postgres", "datetime_offset": "UTC"}, "goes with dialect: mysql"),
        ({"source": "commands"}, "is of a source that is MariaDB or MySQL"),
        ({"interval": {"longest": "1d", "until": "ended"}}, "durations are not computed"),
    ],
)
def test_a_definition_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    adapter: TypeAdapter[Definition] = TypeAdapter(Definition)
    assert adapter.validate_python({**PLAIN, "datetime_offset": "+05:45"}).dialect == "mysql"
    with pytest.raises(ValidationError, match=said):
        adapter.validate_python({**PLAIN, **changes})
