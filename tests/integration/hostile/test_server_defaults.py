"""A database administrator gives a server, a database or a login other defaults; no number and no label knows them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
GRAINS = ("minute", "hour", "day")
DEFAULTS = {
    "DateStyle": "'German, DMY'",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-5",
    "bytea_output": "escape",
    "TimeZone": "'America/New_York'",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "'read committed'",
}
THIRD = 0.1 + 0.2


@contextmanager
def defaults(server: psycopg.Connection[Any], database: str, *logins: str) -> Iterator[None]:
    for login in logins:
        for name, value in DEFAULTS.items():
            server.execute(f"ALTER ROLE {login} IN DATABASE {database} SET {name} = {value}")
    try:
        yield
    finally:
        for login in logins:
            server.execute(f"ALTER ROLE {login} IN DATABASE {database} RESET ALL")


@fault(
    "Another server, or its administrator, writes dates, intervals, binary values and fractions in another way",
    number="right, with the labels and all digits that it had before",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
@pytest.mark.parametrize("of", ["source", "metrics"])
def test_no_default_of_a_server_changes_a_number_or_a_label(world: World, of: str) -> None:
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    columns = {
        "at": "happened_at",
        "exact": "score::text",
        "span": "(length || ' hours')::interval",
        "bytes": r"'\x61ff'::bytea",
    }
    one = definition(
        f"by_text_{of}",
        dimensions={name: {"column": name, "limit": 16} for name in columns},
        source_sql="SELECT happened_at, changed_at, zone, kind, state, amount, length, score, "
        + ", ".join(f"{of} AS {name}" for name, of in columns.items())
        + " FROM facts",
    )
    world.migrate(one)
    fact = {"score": THIRD, "length": 30, "amount": Decimal("1.5"), "state": "done"}
    world.insert(SAME, **fact)
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    logins = ("fleetgauge_reader",) if of == "source" else ("fleetgauge", "fleetgauge_owner")
    with defaults(world.app if of == "source" else world.metrics, world.name, *logins):
        world.insert(SAME, **fact)
        world.migrate(one)
        world.beat()
        world.catch_up()
        assert world.run(one).error is None
        compared = reconcile_metrics(world.settings, [one], (SAME - timedelta(hours=1), NOW), dry_run=True)[0]
        assert (compared.error, compared.different) == (None, 0)
        assert {found.verdict for found in freshness(world.settings, [one])} == {"ok"}
        said = [found.said for found in examine(world.settings, {one.metric: one}, {}) if found.status != "ok"]
        assert [text for text in said if one.metric in text] == []
    for grain in GRAINS:
        query = f"SELECT {', '.join(columns)}, n, amount, most FROM metrics.{one.metric}_{grain}"
        assert world.metrics.execute(query).fetchall() == [
            (f"{SAME:%Y-%m-%d %H:%M:%S}+00", str(THIRD), "30:00:00", r"\x61ff", 2, Decimal(3), THIRD)
        ]
