"""The bill in the columns of FOCUS 1.0 (FinOps Open Cost and Usage Specification), beside the cloud's. Pure.

Columns of our own begin with `x_`, as the specification asks. What has no price is a row of its own, with a cost of 0
and `x_UnpricedMessages`: no one can take it for nothing.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, TextIO

from fleetgauge.cost.bill import BillRow
from fleetgauge.cost.tariff import Tariff
from fleetgauge.errors import Terminal

COLUMNS = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "SkuId", "SkuPriceId", "SubAccountId",
    "SubAccountName", "Tags", "x_Kind", "x_Messages", "x_Provisional", "x_UnpricedMessages",
)  # fmt: skip
"""In the order of the file."""

KINDS: Mapping[str, Literal["text", "decimal", "instant", "integer", "boolean"]] = {
    **dict.fromkeys(COLUMNS, "text"),
    **dict.fromkeys((name for name in COLUMNS if name.endswith(("Cost", "Quantity", "UnitPrice"))), "decimal"),
    **dict.fromkeys((name for name in COLUMNS if name.endswith(("PeriodStart", "PeriodEnd"))), "instant"),
    **dict.fromkeys(("x_Messages", "x_UnpricedMessages"), "integer"),
    "x_Provisional": "boolean",
}
"""What the columns hold, in their order, for files that have types."""

Focus = dict[str, str | None]
"""A row; what is not there, or None, is null."""


def focus_rows(bill: Iterable[BillRow], tariffs: Sequence[Tariff]) -> Iterator[Focus]:
    """The bill's rows, each with what has a price and what has none apart.

    Raises `Terminal` if there is no tariff at all, for a bill has a currency.
    """
    if not tariffs:
        raise Terminal("there is no tariff, so the bill has no currency; add sql/tariffs and run fleetgauge migrate")
    for row in bill:
        if row.charge == "base_fee":
            yield _base_fee(row, tariffs)
            continue
        if row.messages > row.unpriced_messages or row.cost:
            yield _usage(row, tariffs)
        if row.unpriced_messages:
            yield _unpriced(row, tariffs[0].currency)


def write(rows: Iterable[Focus], out: TextIO) -> int:
    """The rows as CSV with a line of headings; how many they are."""
    table = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    count = 0
    for row in rows:
        table.writerow({name: "" if value is None else value for name, value in row.items()})
        count += 1
    return count


def _usage(row: BillRow, tariffs: Sequence[Tariff]) -> Focus:
    tariff = _only(row, tariffs)
    of = {"message": "by message", "sim_day": "by SIM and day", "sim_month": "by SIM and month"}[row.rounding]
    priced = {"PricingQuantity": _plain(Decimal(row.billed_bytes)), "PricingUnit": "Bytes"}
    if tariff is not None:
        price = _plain(tariff.price)
        unit = "Bytes" if tariff.step_bytes == 1 else f"{tariff.step_bytes} Bytes"
        priced = {
            "PricingQuantity": _plain(Decimal(row.billed_bytes // tariff.step_bytes)),
            "PricingUnit": unit,
            "ListUnitPrice": price,
            "ContractedUnitPrice": price,
        }
    return {
        **_common(row, row.currency or tariffs[0].currency, row.cost),
        **priced,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": f"Mobile data of {row.carrier}{_of_kind(row)}, rounded {of}",
        "ConsumedQuantity": _plain(Decimal(row.messages - row.unpriced_messages)),
        "ConsumedUnit": "Messages",
        "PricingCategory": "Standard",
        **_sku(row, tariff),
        "x_Messages": str(row.messages - row.unpriced_messages),
        "x_UnpricedMessages": "0",
    }


def _unpriced(row: BillRow, currency: str) -> Focus:
    return {
        **_common(row, currency, Decimal(0)),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": f"Unpriced: mobile data of {row.carrier}{_of_kind(row)} without a tariff or a known size",
        "ConsumedQuantity": _plain(Decimal(row.unpriced_messages)),
        "ConsumedUnit": "Messages",
        "PricingCategory": "Other",
        "PricingQuantity": "0.0",
        "PricingUnit": "Bytes",
        "SkuId": f"{row.carrier}/unpriced",
        "SkuPriceId": f"{row.carrier}/unpriced",
        "x_Messages": str(row.unpriced_messages),
        "x_UnpricedMessages": str(row.unpriced_messages),
    }


def _base_fee(row: BillRow, tariffs: Sequence[Tariff]) -> Focus:
    return {
        **_common(row, row.currency or tariffs[0].currency, row.cost),
        "ChargeCategory": "Purchase",
        "ChargeFrequency": "Recurring",
        "ChargeDescription": f"Base fee of {row.carrier}: the day's part of a month, for {row.sims} SIMs",
        "PricingCategory": "Standard",
        "PricingQuantity": _plain(Decimal(row.sims or 0)),
        "PricingUnit": "SIMs",
        **_sku(row, _only(row, tariffs)),
        "x_Messages": "0",
        "x_UnpricedMessages": "0",
    }


def _of_kind(row: BillRow) -> str:
    return f", {row.kind}" if row.kind else ""


def _common(row: BillRow, currency: str, cost: Decimal) -> Focus:
    return {
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ContractedCost", "ListCost"), _plain(cost)),
        **dict.fromkeys(("BillingAccountId", "BillingAccountName"), row.carrier),
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), row.carrier),
        "BillingCurrency": currency,
        "BillingPeriodStart": _instant(row.month_start),
        "BillingPeriodEnd": _instant(row.month_end),
        "ChargePeriodStart": _instant(row.window_start),
        "ChargePeriodEnd": _instant(row.window_end),
        "ServiceCategory": "Internet of Things",
        "ServiceName": "Mobile data",
        "x_Kind": row.kind or None,
        "x_Provisional": "true" if row.provisional else "false",
    }


def _sku(row: BillRow, tariff: Tariff | None) -> Focus:
    """The price's name; of a day on which the price changes, without its date."""
    sku = f"{row.carrier}/{row.charge}/{row.rounding}"
    return {"SkuId": sku, "SkuPriceId": sku if tariff is None else f"{sku}/{_instant(tariff.valid_from)}"}


def _only(row: BillRow, tariffs: Sequence[Tariff]) -> Tariff | None:
    """The tariff of the whole day, if it is one."""
    found = [
        one
        for one in tariffs
        if (one.label, one.rounding) == (row.carrier, row.rounding)
        and one.valid_from < row.window_end
        and (one.valid_to is None or row.window_start < one.valid_to)
    ]
    return found[0] if len(found) == 1 else None


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _plain(amount: Decimal) -> str:
    """Without an exponent, as the specification asks, and with a point, for readers that guess types."""
    said = f"{amount:f}"
    return said if "." in said else f"{said}.0"
