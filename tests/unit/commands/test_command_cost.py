from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.commands.cost import Cost, Messages, billed_steps, cost, tariff_at
from fleetgauge.commands.tariff import Tariff, load_tariffs

CHANGE = datetime(2026, 6, 1, tzinfo=UTC)


def tariff(price: str, since: datetime, until: datetime | None = None, *, carrier="skt", overhead=81, step=512):
    return Tariff(
        carrier=carrier,
        valid_from=since,
        valid_to=until,
        overhead_bytes=overhead,
        step_bytes=step,
        price_krw=price,
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


def test_the_worked_examples_of_the_documentation():
    tariffs = load_tariffs(Path(__file__).parents[3])
    since = datetime(2026, 1, 1, tzinfo=UTC)
    unlock = cost([Messages(since, "lguplus", size, 1) for size in (72, 24, 48)], tariffs)
    locate = cost([Messages(since, "skt", size, 1) for size in (40, 24, 8_192)], tariffs)
    assert (unlock.krw, unlock.billed_bytes) == (Decimal("0.3125"), 500)
    assert (locate.krw, locate.billed_bytes) == (Decimal("4.75"), 19 * 512)
