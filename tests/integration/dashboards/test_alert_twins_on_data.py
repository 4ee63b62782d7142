"""Grafana's own alerts, as its login runs them: on what the real rollup made, and on what ought to fire or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from dashboard_world import Filled
from dashboards.alerts import twins
from psycopg import sql

from fleetlab.stack import PostgresState

NAMES = sorted(path.stem for path in twins.QUERIES.glob("*.sql"))
Row = dict[str, Any]


def asked(connection: psycopg.Connection[Any], name: str) -> list[Row]:
    """The rows of a twin; each of its labels is text and its value a number, or Grafana makes no alert of it."""
    cursor = connection.execute(twins.query(name))
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        assert isinstance(row["value"], float), (name, row)
        assert all(isinstance(value, str) for label, value in row.items() if label != "value"), (name, row)
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_a_twin_runs_as_the_login_of_grafana(filled: Filled, name: str) -> None:
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        rows = asked(grafana, name)
    assert len(rows) <= 20, "an alert for each of so many things is none"


@pytest.fixture
def admin_url(postgres: PostgresState, filled: Filled) -> str:
    return postgres.url("metrics", "postgres", urlsplit(filled.grafana_url).path.strip("/"))


@contextmanager
def views(admin_url: str, rows: dict[str, list[tuple[str, Row]]]) -> Iterator[psycopg.Connection[Any]]:
    """A connection that sees nothing in the views but these rows: view → (its time as SQL, its other columns).

    All of it is undone at the end.
    """
    with psycopg.connect(admin_url) as admin:
        admin.execute("ALTER SCHEMA metrics RENAME TO real_metrics")
        admin.execute("CREATE SCHEMA metrics")
        for view, told in rows.items():
            table = sql.Identifier("metrics", view)
            admin.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(table, sql.Identifier("real_metrics", view)))
            for at, columns in told:
                admin.execute(
                    sql.SQL("INSERT INTO {} ({}) VALUES ({}, {})").format(
                        table,
                        sql.SQL(", ").join(map(sql.Identifier, ["window_start", *columns])),
                        sql.SQL(at),  # type: ignore[arg-type]
                        sql.SQL(", ").join(map(sql.Literal, columns.values())),
                    )
                )
        yield admin
        admin.rollback()


def commands(requested: int, failed: int, usual: int) -> dict[str, list[tuple[str, Row]]]:
    """The newest hour of one firmware, and a week in which `usual` of 2,000 failed; another one is as ever."""

    def one(firmware: str, requested: int, unsuccessful: int) -> Row:
        return {"firmware": firmware, "requested": requested, "open": 0, "unsuccessful": unsuccessful}

    return {
        "device_command_minute": [
            ("date_trunc('minute', now()) - interval '30 minutes'", one("4.2", requested, failed)),
            ("date_trunc('minute', now()) - interval '30 minutes'", one("4.1", 300, 18)),
            ("date_trunc('minute', now()) - interval '2 minutes'", one("4.1", 300, 300)),  # not final yet
        ],
        "device_command_by_firmware_day": [
            ("now() - interval '3 days'", one("4.2", 2000, usual)),
            ("now() - interval '3 days'", one("4.1", 2000, 120)),
        ],
    }


@pytest.mark.parametrize(
    ("requested", "failed", "usual", "fires"),
    [(1000, 100, 120, True), (1000, 62, 120, False), (99, 60, 120, False), (1000, 100, 200, False)],
)
def test_the_firmware_that_fails_more_than_it_used_to_is_named(
    admin_url: str, requested: int, failed: int, usual: int, *, fires: bool
) -> None:
    with views(admin_url, commands(requested, failed, usual)) as connection:
        assert asked(connection, "CommandFailureRate") == (
            [{"firmware": "4.2", "value": failed / requested}] if fires else []
        )


@pytest.mark.parametrize(("newest", "fires"), [(0, True), (240, True), (260, False), (1000, False)])
def test_a_silent_fleet_is_noticed(admin_url: str, newest: int, *, fires: bool) -> None:
    told = [("now() - interval '1450 minutes'", {"events": 1000})]
    if newest:
        told.append(("now() - interval '10 minutes'", {"events": newest}))
    with views(admin_url, {"telemetry_minute": told}) as connection:
        assert asked(connection, "FleetSilent") == ([{"value": float(newest)}] if fires else [])


@pytest.mark.parametrize(("was_suspect", "fires"), [(False, True), (True, False)])
def test_a_new_suspect_is_told_once(admin_url: str, *, was_suspect: bool, fires: bool) -> None:
    told = [(1, "v1", 9), (2, "v1", 9 if was_suspect else 0), (1, "v2", 0)]
    with psycopg.connect(admin_url) as admin:
        admin.execute("DELETE FROM fleetgauge.suspect_vehicle_day")
        for back, vehicle, points in told:
            admin.execute(
                "INSERT INTO fleetgauge.suspect_vehicle_day VALUES (current_date - %s, %s, 'm', -5, %s, '{}', '[]')",
                [back, vehicle, points],
            )
        assert asked(admin, "SuspectsFound") == ([{"value": 1.0}] if fires else [])
        admin.rollback()
