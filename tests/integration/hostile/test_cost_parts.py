"""A part is never shown as the whole: cost adds up at every grain, with exactly what has no price beside it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from command_weather import CONTENT, Weather, noon, same_at_every_grain
from command_world import document
from fault_table import fault

from fleetgauge.cost.tariff import apply_tariffs

BILL = "sum(messages)::bigint, sum(cost_krw), sum(unpriced_messages)::bigint"


@pytest.fixture
def priced(weather: Weather) -> Iterator[Weather]:
    """With the project's own tariffs: SKT bills steps of 512 bytes, 81 of overhead, at 0.25 KRW."""
    apply_tariffs(weather.owner, CONTENT)
    yield weather


def message(step: str, at: datetime, number: int, **changes: Any) -> dict[str, Any]:
    """One message of a command of its own."""
    moment = int(at.timestamp() * 1000)
    shape = {"requested_ms": moment, "deadline_ms": moment + 60_000, **changes}
    return document(step, moment, command_id=f"c-{number}", **shape)


def without_size(one: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "message"}


@fault(
    "One message of a hundred and one does not say its size",
    number="the cost of the hundred at minute, hour and day, with 1 unpriced beside it",
    freshness="ok",
    doctor="ok",
    exporter="ok; the dashboard's tile shows the unpriced ones",
    exit_code="0",
)
def test_a_message_without_a_size_takes_no_other_from_the_bill(priced: Weather) -> None:
    begin = noon() - timedelta(hours=2)
    sent = [message("sent", begin + timedelta(hours=n // 10, minutes=n % 10), n, size=72) for n in range(100)]
    odd = without_size(message("sent", begin + timedelta(hours=4, minutes=30), 100))
    priced.run([*sent, odd])
    same_at_every_grain(priced.rows(BILL, "command_cost"), [(101, Decimal("25.00"), 1)])
    for grain in ("minute", "hour", "day"):
        nulls = f"SELECT count(*) FROM metrics.command_cost_{grain} WHERE cost_krw IS NULL OR billed_bytes IS NULL"
        assert priced.owner.execute(nulls).fetchone() == (0,)


def test_more_sizes_than_any_limit_are_priced_exactly(priced: Weather) -> None:
    """4,200 answers of 4,000 to 8,199 bytes, then 100 of 9,000: no size is one too many."""
    begin = noon()
    sizes = [*range(4_000, 8_200), *[9_000] * 100]
    answers = [message("responded", begin + timedelta(seconds=n % 600), n, size=s) for n, s in enumerate(sizes)]
    for at in range(0, len(answers), 1_500):
        priced.run(answers[at : at + 1_500])
    expected = sum((-(-(size + 81) // 512) for size in sizes), 0) * Decimal("0.25")
    # Each answer proves a command that was sent, which no event tells of: as many downlinks without a size.
    same_at_every_grain(priced.rows(BILL, "command_cost", "direction = 'uplink'"), [(len(sizes), expected, 0)])
    same_at_every_grain(
        priced.rows(BILL, "command_cost", "direction = 'downlink'"), [(len(sizes), Decimal(0), len(sizes))]
    )


@fault(
    "A SIM of a carrier without a tariff",
    number="its messages are counted, and unpriced; the cost is that of the others",
    freshness="ok",
    doctor="ok",
    exporter="ok; the dashboard's tile shows the unpriced ones",
    exit_code="0",
)
def test_a_carrier_without_a_tariff_is_unpriced_and_counted(priced: Weather) -> None:
    begin = noon()
    priced.run([message("sent", begin, 1, size=72), message("sent", begin, 2, size=72, carrier="roaming")])
    same_at_every_grain(priced.rows(BILL, "command_cost"), [(2, Decimal("0.25"), 1)])


@fault(
    "An ack without its `sent`: nobody tells of the command that went out",
    number="one more downlink, of unknown size and so unpriced, until its event comes",
    freshness="ok",
    doctor="ok",
    exporter="fleetgauge_commands_unseen",
    exit_code="0",
)
def test_an_ack_without_its_sent_proves_a_message(priced: Weather) -> None:
    begin = noon()
    ack = message("delivered", begin + timedelta(minutes=2), 1, size=24)
    priced.run([ack])
    downlink = "direction = 'downlink'"
    same_at_every_grain(priced.rows("messages, unseen, bytes, payload_unknown", "traffic", downlink), [(1, 1, 0, 1)])
    same_at_every_grain(priced.rows(BILL, "command_cost"), [(2, Decimal("0.25"), 1)])
    sent = message("sent", begin, 1, size=72)
    sent["command"] = ack["command"]
    priced.run([sent])
    same_at_every_grain(
        priced.rows("sum(messages)::bigint, sum(unseen)::bigint, sum(bytes)::bigint", "traffic", downlink), [(1, 0, 72)]
    )
    same_at_every_grain(priced.rows(BILL, "command_cost"), [(2, Decimal("0.50"), 0)])


def test_a_retransmission_is_billed(priced: Weather) -> None:
    begin = noon()
    first, again = (message("sent", begin, 1, size=72, event_id=name) for name in ("first", "again"))
    priced.run([first, again, first])
    same_at_every_grain(priced.rows(BILL, "command_cost"), [(2, Decimal("0.50"), 0)])
