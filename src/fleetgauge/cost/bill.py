"""The bill as the metrics database has it: rows of `metrics.carrier_cost_day`, and the tariffs in force."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from fleetgauge.cost.estimates import SimStream
from fleetgauge.cost.tariff import Tariff
from fleetgauge.cost.whatif import Usage
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, only_row

COST_VIEW = "carrier_cost_day"
VIEW = f"metrics.{COST_VIEW}"
"""What each carrier charges for a day; content of another company may not have it."""

KINDS = "metrics.air_cost_day"
"""What each kind of traffic bears of it; content, as the other."""

USAGE = "metrics.traffic_usage_day"
"""Each day's messages by size; content, as the other."""

BY_SIM = "metrics.sim_stream_day"
"""What each SIM used on each day, of telemetry and of commands; content, as the other."""


@dataclass(frozen=True)
class BillRow:
    """What a carrier charges for a local day, of one kind."""

    window_start: datetime
    """Where the day begins (UTC)."""
    window_end: datetime
    month_start: datetime
    """Where its month begins and ends (UTC)."""
    month_end: datetime
    date: date
    carrier: str
    charge: Literal["usage", "base_fee"]
    rounding: str
    currency: str | None
    """None: nothing of it has a price."""
    messages: int
    billed_bytes: int
    cost: Decimal
    unpriced_messages: int
    sims: int | None
    provisional: bool
    kind: str = ""
    """A command type or a kind of telemetry, where the row is a part of the bill; empty: all of them."""


_COLUMNS = [one.name for one in fields(BillRow) if one.name != "kind"]
_ROWS = f"""
SELECT {", ".join(_COLUMNS)} FROM {VIEW}
WHERE %(month)s::date IS NULL OR month = %(month)s::date
ORDER BY window_start, carrier, charge, rounding, currency
"""  # noqa: S608
_KINDS = f"""
SELECT window_start, carrier, kind, messages, billed_bytes, cost_krw, unpriced_messages FROM {KINDS}
WHERE %(month)s::date IS NULL OR month = %(month)s::date
ORDER BY window_start, carrier, stream, kind, direction
"""  # noqa: S608
# A day that may still change is no day of the past.
_USAGE = f"""
SELECT date, subject, carrier, direction, coalesce(payload, '{{}}')::bigint[], unsized,
    coalesce(further, '{{}}')::bigint[], stream
FROM {USAGE}
WHERE (%(begin)s::date IS NULL OR date >= %(begin)s::date) AND (%(end)s::date IS NULL OR date < %(end)s::date)
AND date NOT IN (SELECT date FROM {USAGE} WHERE provisional)
ORDER BY date, stream, subject, carrier, direction
"""  # noqa: S608
_SIMS = f"""
SELECT date, sim, carrier, stream, messages - unsized, bytes FROM {BY_SIM}
WHERE date = ANY(%(days)s) AND carrier = ANY(%(carriers)s) AND sim NOT IN ('(other)', '(not set)')
ORDER BY date, carrier, sim, stream
"""  # noqa: S608
_TARIFFS = f"""
SELECT {", ".join("nullif(valid_to, 'infinity')" if name == "valid_to" else name for name in Tariff.model_fields)}
FROM fleetgauge.tariff ORDER BY carrier, price_class, valid_from
"""  # noqa: S608


def usage_rows(connection: Connection, begin: date | None = None, end: date | None = None) -> Sequence[Usage]:
    """Traffic by day and size, of final local days from `begin` until before `end`. Blocks.

    Raises `Terminal` if there is no such view.
    """
    _exists(connection, USAGE)
    rows = connection.execute(_USAGE, {"begin": begin, "end": end}).fetchall()
    return [
        Usage(day, subject, carrier, direction, _sizes(payload), unsized, _sizes(further), stream)
        for day, subject, carrier, direction, payload, unsized, further, stream in rows
    ]


def sim_streams(connection: Connection, days: Collection[date], carriers: Collection[str]) -> list[SimStream]:
    """What each SIM of the carriers used on these days; SIMs beyond the limit cannot be told apart. Blocks."""
    _exists(connection, BY_SIM)
    rows = connection.execute(_SIMS, {"days": list(days), "carriers": list(carriers)}).fetchall()
    return [SimStream(*row) for row in rows]


def stored_tariffs(connection: Connection) -> list[Tariff]:
    """The tariffs in force, by carrier and time."""
    rows = connection.execute(_TARIFFS).fetchall()
    return [Tariff.model_construct(**dict(zip(Tariff.model_fields, row, strict=True))) for row in rows]


def bill_rows(connection: Connection, month: date | None = None) -> Sequence[BillRow]:
    """The bill by day, of a month (its first day) or of all. Blocks. Raises `Terminal` if there is no such view."""
    _exists(connection, VIEW)
    rows = connection.execute(_ROWS, {"month": month}).fetchall()
    return [BillRow(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def bill_by_kind(connection: Connection, month: date | None = None) -> list[BillRow]:
    """As `bill_rows`, usage parted by kind of traffic wherever the parts add up to it. Blocks."""
    rows = connection.execute(_KINDS, {"month": month}).fetchall()
    kinds: dict[tuple[datetime, str], list[tuple[Any, ...]]] = {}
    for window_start, carrier, *part in rows:
        kinds.setdefault((window_start, carrier), []).append(tuple(part))
    return [one for row in bill_rows(connection, month) for one in _parted(row, kinds)]


def _parted(row: BillRow, kinds: Mapping[tuple[datetime, str], Sequence[tuple[Any, ...]]]) -> list[BillRow]:
    if row.charge != "usage":
        return [row]
    parts = [
        replace(row, kind=kind, messages=messages, billed_bytes=billed, cost=cost, unpriced_messages=unpriced)
        for kind, messages, billed, cost, unpriced in kinds.get((row.window_start, row.carrier), ())
    ]
    whole = row.messages, row.billed_bytes, row.cost, row.unpriced_messages
    sums = (
        sum(one.messages for one in parts),
        sum(one.billed_bytes for one in parts),
        sum((one.cost for one in parts), Decimal(0)),
        sum(one.unpriced_messages for one in parts),
    )
    return parts if sums == whole else [row]


def _exists(connection: Connection, view: str) -> None:
    if not only_row(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [view]))[0]:
        raise Terminal(f"there is no view {view}; run fleetgauge migrate with a views.sql that makes it (docs/cost.md)")


def _sizes(tally: Sequence[int]) -> dict[int, Fraction]:
    """A tally as it is stored, values and then their counts, by value."""
    half = len(tally) // 2
    return {size: Fraction(count) for size, count in zip(tally[:half], tally[half:], strict=True)}
