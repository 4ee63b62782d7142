"""The bill as the metrics database has it: rows of `metrics.carrier_cost_day`, and the tariffs in force."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from fleetgauge.cost.tariff import Tariff
from fleetgauge.cost.whatif import Usage
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, only_row

COST_VIEW = "carrier_cost_day"
VIEW = f"metrics.{COST_VIEW}"
"""What each carrier charges for a day; content of another company may not have it."""

USAGE = "metrics.traffic_usage_day"
"""Each day's messages by size; content, as the other."""


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


_ROWS = f"""
SELECT {", ".join(one.name for one in fields(BillRow))} FROM {VIEW}
WHERE %(month)s::date IS NULL OR month = %(month)s::date
ORDER BY window_start, carrier, charge, rounding, currency
"""  # noqa: S608
# A day that may still change is no day of the past.
_USAGE = f"""
SELECT date, subject, carrier, direction, coalesce(payload, '{{}}')::bigint[], unsized, retries FROM {USAGE}
WHERE (%(begin)s::date IS NULL OR date >= %(begin)s::date) AND (%(end)s::date IS NULL OR date < %(end)s::date)
AND date NOT IN (SELECT date FROM {USAGE} WHERE provisional)
ORDER BY date, subject, carrier, direction
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
        Usage(day, subject, carrier, direction, _sizes(payload), unsized, retries)
        for day, subject, carrier, direction, payload, unsized, retries in rows
    ]


def stored_tariffs(connection: Connection) -> list[Tariff]:
    """The tariffs in force, by carrier and time."""
    rows = connection.execute(_TARIFFS).fetchall()
    return [Tariff.model_construct(**dict(zip(Tariff.model_fields, row, strict=True))) for row in rows]


def bill_rows(connection: Connection, month: date | None = None) -> Sequence[BillRow]:
    """The bill by day, of a month (its first day) or of all. Blocks. Raises `Terminal` if there is no such view."""
    _exists(connection, VIEW)
    rows = connection.execute(_ROWS, {"month": month}).fetchall()
    return [BillRow(**dict(zip((one.name for one in fields(BillRow)), row, strict=True))) for row in rows]


def _exists(connection: Connection, view: str) -> None:
    if not only_row(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [view]))[0]:
        raise Terminal(f"there is no view {view}; run fleetgauge migrate with a views.sql that makes it (docs/cost.md)")


def _sizes(tally: Sequence[int]) -> dict[int, Fraction]:
    """A tally as it is stored, values and then their counts, by value."""
    half = len(tally) // 2
    return {size: Fraction(count) for size, count in zip(tally[:half], tally[half:], strict=True)}
