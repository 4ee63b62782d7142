"""The bill by SIM, day and month: the views equal their twin in Python, whatever is used under whatever tariffs."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetgauge.cost.bill import bill_rows, stored_tariffs
from fleetgauge.cost.charges import DAY, DayCharge, Messages, SimDay, cost, sim_charges
from fleetgauge.cost.focus import focus_rows
from fleetgauge.cost.tariff import Tariff, put_tariffs
from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.sketches.tally import tally

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


def put(owner: psycopg.Connection, usage: Iterable[SimDay], tariffs: Sequence[Tariff]) -> None:
    """Rows as rollups leave them, and tariffs as a migration does."""
    put_tariffs(owner, tariffs)
    with owner.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {store('traffic_sim')} (window_start, date, sim, carrier, messages, unsized, bytes)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(midnight(u.date), u.date, u.sim, u.carrier, u.messages, u.unsized, u.bytes) for u in usage],
        )


def found(owner: psycopg.Connection, charge: str) -> dict[tuple, tuple]:
    rows = owner.execute(
        "SELECT date, carrier, rounding, sum(messages), sum(unpriced_messages), sum(billed_bytes), sum(cost), max(sims)"
        " FROM metrics.carrier_cost_day WHERE charge = %s GROUP BY 1, 2, 3",
        [charge],
    )
    return {row[:3]: row[3:] for row in rows}


def key(charge: DayCharge) -> tuple[date, str, str]:
    return charge.date, charge.tariff.carrier, charge.tariff.rounding


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


@st.composite
def companies(draw: st.DrawFn) -> tuple[list[SimDay], list[Tariff]]:
    """Traffic of a few SIMs of two carriers on some days, and tariffs that change within the months."""
    tariffs = []
    for carrier in ("skt", "kt"):
        cuts = sorted(draw(st.sets(st.integers(-30, SPAN + 10), max_size=3)))
        for begin, end in zip(cuts, [*cuts[1:], None], strict=False):
            rounding = draw(st.sampled_from(["message", "sim_day", "sim_month"]))
            fee = draw(st.sampled_from(["0", "500", "33.333333333"]))
            allowance = draw(st.integers(0, 20_000)) if rounding == "sim_month" else 0
            sims = draw(st.none() | st.integers(0, 5)) if rounding != "message" or fee != "0" else None
            tariffs.append(
                tariff(
                    carrier,
                    FIRST + begin * DAY,
                    None if end is None else FIRST + end * DAY,
                    rounding=rounding,
                    overhead_bytes=draw(st.integers(0, 100)),
                    step_bytes=draw(st.sampled_from([1, 100, 1024, 1_000_003])),
                    price=str(draw(st.integers(0, 10**12)) * Decimal("0.000000001")),
                    base_fee=fee,
                    allowance_bytes=allowance,
                    sims=sims,
                )
            )
    usage = {}
    for _ in range(draw(st.integers(1, 25))):
        day = FIRST + draw(st.integers(0, SPAN)) * DAY
        sim, carrier = draw(st.sampled_from(["s-1", "s-2", "s-3"])), draw(st.sampled_from(["skt", "kt", "none"]))
        messages = draw(st.integers(1, 5))
        unsized = draw(st.integers(0, messages))
        size = draw(st.integers(0, 5_000)) if unsized < messages else 0
        usage[day, sim, carrier] = SimDay(day, sim, carrier, messages, size, unsized)
    return list(usage.values()), tariffs


@given(companies())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_bill_by_sim_equals_its_twin(owner: psycopg.Connection, company: tuple[list[SimDay], list[Tariff]]) -> None:
    usage, tariffs = company
    known = (min(u.date for u in usage), max(u.date for u in usage))
    expected = sim_charges(usage, tariffs, SEOUL, known)
    with owner.transaction(force_rollback=True):
        put(owner, usage, tariffs)
        assert found(owner, "usage") == {
            (c.date, c.tariff.carrier, c.tariff.rounding): (
                c.messages,
                c.unpriced_messages,
                c.billed_bytes,
                c.usage,
                c.sims,
            )
            for c in expected
            if c.messages and c.tariff.rounding != "message"
        }
        assert found(owner, "base_fee") == {
            (c.date, c.tariff.carrier, c.tariff.rounding): (0, 0, 0, c.base_fee, c.sims) for c in expected if c.base_fee
        }
        by_day = "SELECT sum(cost), sum(unpriced_messages), sum(messages) FROM metrics.carrier_cost_day"
        assert owner.execute(by_day).fetchone() == owner.execute(by_day.replace("_day", "_month")).fetchone()


def test_every_scope_stands_in_one_bill(owner: psycopg.Connection) -> None:
    """KT changes from messages to SIM and month on 11 February; SKT bills by message; `none` is unknown."""
    change = date(2026, 2, 11)
    tariffs = [
        tariff("kt", date(2026, 1, 1), change, rounding="message", step_bytes=100, price="0.1"),
        tariff("kt", change, allowance_bytes=1_000, base_fee="28"),
        tariff("skt", date(2026, 1, 1), rounding="message", step_bytes=512, price="0.25"),
    ]
    sizes = {"kt": [60, 61, 5_000], "skt": [500], "none": [7, 8]}
    days = [change - DAY, change, change + DAY]
    usage = [SimDay(d, f"s-{c}", c, len(s), sum(s)) for d in days for c, s in sizes.items()]
    with owner.transaction(force_rollback=True):
        put(owner, usage, tariffs)
        with owner.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {store('traffic')} (window_start, date, command_type, carrier, direction,"
                " messages, unseen, bytes, payload, payload_unknown)"
                " VALUES (%s, %s, 'ring', %s, 'uplink', %s, 0, %s, %s, 0)",
                [(midnight(d), d, c, len(s), sum(s), tally(s)) for d in days for c, s in sizes.items()],
            )
        rows = owner.execute(
            "SELECT carrier, charge, rounding, sum(messages), sum(cost), sum(unpriced_messages) FROM"
            " metrics.carrier_cost_month WHERE month = '2026-02-01' GROUP BY 1, 2, 3"
        ).fetchall()
        # KT by message: 100, 101, 5,040 bytes are 1 + 2 + 51 steps of 0.1. Then 2 × 5,241 bytes are 11 steps of 0.5,
        # less a pool of 1,000 × 18 / 28 bytes, which holds no whole step. Two days of 18 with a base fee of 1.
        bill = {row[:3]: row[3:] for row in rows}
        assert bill == {
            ("kt", "usage", "message"): (3, Decimal("5.4"), 0),
            ("kt", "usage", "sim_month"): (6, Decimal("5.5"), 0),
            ("kt", "base_fee", "sim_month"): (0, Decimal(2), 0),
            ("skt", "usage", "message"): (3, Decimal("1.5"), 0),
            ("none", "usage", "message"): (6, Decimal(0), 6),
        }
        python = cost([Messages(midnight(days[0]), "kt", size, 1) for size in sizes["kt"]], tariffs)
        assert python.amount == bill["kt", "usage", "message"][1]
        exported = list(focus_rows(bill_rows(owner, date(2026, 2, 1)), stored_tariffs(owner)))
        assert sum(Decimal(str(row["BilledCost"])) for row in exported) == sum(cost for _, cost, _ in bill.values())
        assert sum(int(str(row["x_UnpricedMessages"])) for row in exported) == 6
        assert {row["BillingPeriodEnd"] for row in exported} == {"2026-02-28T15:00:00Z"}
        assert bill_rows(owner, date(2026, 1, 1)) == []
        by_sim = "SELECT sum(by_sim_messages), sum(unpriced_messages), sum(cost_krw) FROM metrics.command_cost_day"
        assert owner.execute(by_sim).fetchone() == (6, 6, Decimal("6.9"))


def test_a_sim_beyond_the_limit_has_no_price(owner: psycopg.Connection) -> None:
    day = date(2026, 2, 3)
    with owner.transaction(force_rollback=True):
        put(owner, [SimDay(day, "s-1", "kt", 1, 960), SimDay(day, "(other)", "kt", 7, 9_999)], [tariff("kt", day)])
        assert found(owner, "usage") == {(day, "kt", "sim_month"): (8, 7, 1000, Decimal("0.5"), 1)}


@pytest.mark.parametrize(
    ("amount", "month"), [("100", "2026-02-01"), ("0.000000001", "2026-01-01"), ("999999999.123456789", "2026-04-01")]
)
def test_the_days_of_a_month_bear_the_whole_fee(owner: psycopg.Connection, amount: str, month: str) -> None:
    total = owner.execute(
        "SELECT sum(fleetgauge.share_of_month(%s::numeric, d::date)) FROM"
        " generate_series(%s::timestamp, %s::timestamp + interval '1 month - 1 day', '1 day') AS d",
        [amount, month, month],
    ).fetchone()
    assert total == (Decimal(amount),)
