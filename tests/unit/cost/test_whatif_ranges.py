"""What a change would save: the range that is told of it, what is counted beside, and what is refused."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from fleetgauge.cost import whatif
from fleetgauge.cost.estimates import estimate
from fleetgauge.cost.tariff import load_tariffs
from fleetgauge.cost.whatif import Usage
from fleetgauge.errors import Terminal

TARIFFS = load_tariffs(Path(__file__).parents[3])
START = datetime(2026, 11, 20, 15, tzinfo=UTC)
MONDAY = date(2026, 11, 2)


def days(*counts: int, subject: str = "ring") -> list[Usage]:
    return [
        Usage(MONDAY + timedelta(days=n), subject, "skt", "downlink", {48: Fraction(count)})
        for n, count in enumerate(counts)
    ]


def test_the_range_is_that_of_the_weeks() -> None:
    found = estimate(days(*[100] * 7, *[300] * 7, 50), TARIFFS, START, [whatif.rate("ring", Fraction(1, 2))])
    assert found.varied_by == "week"
    assert (found.saving.low, found.saving.high) == (Decimal("4562.50"), Decimal("13687.50"))  # of 36,500 and 109,500
    assert found.saving.expected == Decimal("9125.00")  # of whole weeks too, so it never lies beyond the range
    assert any("2026-11-02 to 2026-11-15: 14 days" in said for said in found.assumptions)


def test_what_is_expected_lies_within_the_range() -> None:
    """Two whole weeks from Monday to Sunday, and before and after them days that are busier than any week."""
    from_tuesday = [
        replace(one, date=one.date + timedelta(days=1)) for one in days(*[900] * 6, *[100] * 7, *[120] * 7, 900)
    ]
    weekend = estimate(from_tuesday, TARIFFS, START, [whatif.rate("ring", Fraction(1, 2))])
    for found in (weekend.saving, weekend.year_before):
        assert found.low <= found.expected <= found.high


def test_of_less_than_two_weeks_the_range_is_that_of_the_days() -> None:
    found = estimate(days(100, 200), TARIFFS, START, [whatif.rate("ring", Fraction(0))])
    assert (found.varied_by, found.saving.low, found.saving.high) == ("day", Decimal("9125.00"), Decimal("18250.00"))


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(Terminal, match="no traffic of rnig"):
        estimate(days(1), TARIFFS, START, [whatif.rate("rnig", Fraction(0))])
    with pytest.raises(Terminal, match="there is no traffic"):
        estimate([], TARIFFS, START, [])
    with pytest.raises(Terminal, match="make it 100 %"):
        whatif.split({"skt": Fraction(1, 2)})


def test_what_has_no_price_is_counted_beside() -> None:
    rows = [*days(10), replace(days(3)[0], carrier="freetel"), replace(days(0)[0], direction="uplink", unsized=2)]
    by_sim = [one.model_copy(update={"rounding": "sim_day"}) if one.carrier == "kt" else one for one in TARIFFS]
    found = estimate([*rows, replace(days(5)[0], carrier="kt")], by_sim, START, [])
    assert (found.messages, found.unpriced_messages, found.by_sim_messages) == (20, 5, 5)
    assert found.before == found.after == Decimal("2.50")
