"""Rows of traffic as rollups leave them, and tariffs, put straight into a metrics database."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg

from fleetgauge.cost.charges import SimDay
from fleetgauge.cost.tariff import Tariff, put_tariffs
from fleetgauge.rollup import load_definitions

CONTENT = Path(__file__).parents[3]
DEFINITIONS = load_definitions(CONTENT, "0a0a0a0a")
SEOUL = ZoneInfo("Asia/Seoul")
FIRST = date(2026, 1, 20)
"""Of the days that examples are about; the last is in March, so that a whole month of 28 days lies between."""
SPAN = 50


def store(name: str) -> str:
    definition = DEFINITIONS[name]
    return f"store.{definition.table(next(level for level in definition.levels if level.name == 'day'))}"


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), SEOUL).astimezone(UTC)


def telemetry_of(usage: SimDay) -> SimDay:
    """The part of it that is telemetry: every second message that says its size; the rest is of commands."""
    messages = (usage.messages - usage.unsized) // 2
    return replace(usage, messages=messages, unsized=0, bytes=usage.bytes // 3 if messages else 0)


def put(owner: psycopg.Connection, usage: Iterable[SimDay], tariffs: Sequence[Tariff]) -> None:
    """Rows as rollups leave them, and tariffs as a migration does."""
    put_tariffs(owner, tariffs)
    telemetry = [(one, telemetry_of(one)) for one in usage]
    with owner.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {store('telemetry_sim')} (window_start, date, sim, carrier, messages, bytes)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [(midnight(t.date), t.date, t.sim, t.carrier, t.messages, t.bytes) for _, t in telemetry if t.messages],
        )
        cursor.executemany(
            f"INSERT INTO {store('traffic_sim')} (window_start, date, sim, carrier, unsized, bytes,"
            " messages, source_rows)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (midnight(u.date), u.date, u.sim, u.carrier, u.unsized, u.bytes - t.bytes)
                + (u.messages - t.messages,) * 2
                for u, t in telemetry
            ],
        )


def put_kinds(owner: psycopg.Connection, usage: Iterable[SimDay]) -> dict[tuple[date, str], dict[str, SimDay]]:
    """The same traffic by kind and carrier, as the metrics without SIMs have it; what they hold, by day and carrier."""
    kinds: dict[tuple[date, str], dict[str, SimDay]] = {}
    for one in usage:
        telemetry = telemetry_of(one)
        rest = replace(
            one,
            messages=one.messages - telemetry.messages,
            bytes=one.bytes - telemetry.bytes,
        )
        of = kinds.setdefault((one.date, one.carrier), {})
        for kind, part in (("ring", rest), ("location", telemetry)):
            if part.messages:
                was = of.get(kind, replace(part, messages=0, unsized=0, bytes=0))
                of[kind] = replace(
                    was,
                    messages=was.messages + part.messages,
                    unsized=was.unsized + part.unsized,
                    bytes=was.bytes + part.bytes,
                )
    sql = (
        "INSERT INTO {} (window_start, date, {}, carrier, direction, messages, bytes, payload, payload_unknown, {})"
        " VALUES (%s, %s, %s, %s, 'uplink', %s, %s, '{{}}', %s, {})"
    )
    tables = (
        ("traffic", "command_type", "source_rows, unseen, further, further_unknown", "1, 0, '{}', 0", "ring"),
        ("telemetry_traffic", "kind", "largest, devices", "0, ''", "location"),
    )
    with owner.cursor() as cursor:
        for name, column, more, values, kind in tables:
            cursor.executemany(
                sql.format(store(name), column, more, values),
                [
                    (midnight(day), day, kind, carrier, of[kind].messages, of[kind].bytes, of[kind].unsized)
                    for (day, carrier), of in kinds.items()
                    if kind in of
                ],
            )
    return kinds


def tariff(carrier: str, begin: date, end: date | None = None, **changes) -> Tariff:
    return Tariff(
        **{
            "carrier": carrier,
            "valid_from": midnight(begin),
            "valid_to": None if end is None else midnight(end),
            "currency": "KRW",
            "rounding": "sim_month",
            "overhead_bytes": 40,
            "step_bytes": 1000,
            "price": "0.5",
            **changes,
        }
    )


def everything(owner: psycopg.Connection) -> list[tuple]:
    """What is charged by SIM, whole."""
    return owner.execute("SELECT * FROM metrics.sim_charge_day ORDER BY date, carrier, charge, valid_from").fetchall()


def stale(owner: psycopg.Connection, *, stored: bool = False) -> int:
    """Months whose steps are computed when they are read; or `stored`."""
    query = (
        "SELECT count(*) FILTER (WHERE k.month IS NOT NULL), count(*) FILTER (WHERE k.month IS NULL)"
        " FROM metrics.sim_month AS m LEFT JOIN fleetgauge.stored_month AS k USING (month, inputs)"
    )
    found_here = owner.execute(query).fetchone()
    assert found_here is not None
    return found_here[0 if stored else 1]
