"""The bill as the metrics database has it: rows of `metrics.carrier_cost_day`, and the tariffs in force."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from fleetgauge.cost.tariff import Tariff
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, only_row

COST_VIEW = "carrier_cost_day"
VIEW = f"metrics.{COST_VIEW}"
"""What each carrier charges for a day; content of another company may not have it."""


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
_TARIFFS = f"""
SELECT {", ".join("nullif(valid_to, 'infinity')" if name == "valid_to" else name for name in Tariff.model_fields)}
FROM fleetgauge.tariff ORDER BY carrier, price_class, valid_from
"""  # noqa: S608


def stored_tariffs(connection: Connection) -> list[Tariff]:
    """The tariffs in force, by carrier and time."""
    rows = connection.execute(_TARIFFS).fetchall()
    return [Tariff.model_construct(**dict(zip(Tariff.model_fields, row, strict=True))) for row in rows]


def bill_rows(connection: Connection, month: date | None = None) -> Sequence[BillRow]:
    """The bill by day, of a month (its first day) or of all. Blocks. Raises `Terminal` if there is no such view."""
    if not only_row(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [VIEW]))[0]:
        raise Terminal(f"there is no view {VIEW}; run fleetgauge migrate with a views.sql that makes it (docs/cost.md)")
    rows = connection.execute(_ROWS, {"month": month}).fetchall()
    return [BillRow(**dict(zip((one.name for one in fields(BillRow)), row, strict=True))) for row in rows]
