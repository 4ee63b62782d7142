from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.cost.charges import Cost, Messages, billed_steps, cost, tariff_at
from fleetgauge.cost.tariff import Tariff

CHANGE = datetime(2026, 6, 1, tzinfo=UTC)


def tariff(price: str, since: datetime, until: datetime | None = None, *, carrier="skt", overhead=81, step=512):
    return Tariff(
        carrier=carrier,
        valid_from=since,
        valid_to=until,
        currency="KRW",
        overhead_bytes=overhead,
        step_bytes=step,
        price=price,
        rounding="message",
    )


OLD = tariff("0.25", CHANGE - timedelta(days=365), CHANGE)
NEW = tariff("0.2", CHANGE)


@pytest.mark.parametrize(
    ("payload", "steps"), [(0, 1), (431, 1), (432, 2), (943, 2), (944, 3)]
)  # 81 bytes of overhead, steps of 512
def test_messages_are_billed_in_whole_steps(payload, steps):
    assert billed_steps(payload, OLD) == steps


def test_no_overhead_and_no_payload_costs_nothing():
    assert billed_steps(0, tariff("1", CHANGE, overhead=0)) == 0


def test_the_price_is_that_of_the_windows_start():
    before, at = CHANGE - timedelta(minutes=1), CHANGE
    total = cost([Messages(before, "skt", 100, 3), Messages(at, "skt", 500, 2)], [OLD, NEW])
    assert total == Cost(5, 3 * 512 + 2 * 2 * 512, 3 * Decimal("0.25") + 4 * Decimal("0.2"), 0)


def test_messages_without_a_tariff_are_told_apart():
    total = cost([Messages(CHANGE, "kt", 100, 3), Messages(CHANGE - timedelta(days=400), "skt", 100, 4)], [OLD, NEW])
    assert total == Cost(7, 0, Decimal(0), 7)
    assert tariff_at([OLD], "skt", CHANGE) is None


@given(st.integers(0, 2**20), st.integers(0, 65_535), st.integers(1, 2**20))
def test_steps_are_the_least_that_hold_the_message(payload, overhead, step):
    steps = billed_steps(payload, tariff("1", CHANGE, overhead=overhead, step=step))
    assert (steps - 1) * step < payload + overhead <= steps * step
