"""The bill by SIM, day and month: the views equal their twin in Python, whatever is used under whatever tariffs."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sim_rows import FIRST, SEOUL, SPAN, everything, midnight, put, put_kinds, stale, store, tariff

from fleetgauge.cost.bill import bill_by_kind, bill_rows, stored_tariffs
from fleetgauge.cost.charges import DAY, DayCharge, Messages, SimDay, cost, shared_out, sim_charges
from fleetgauge.cost.focus import focus_rows
from fleetgauge.cost.sim_steps import store_steps
from fleetgauge.cost.tariff import Tariff
from fleetgauge.rollup.sketches.tally import tally


def found(owner: psycopg.Connection, charge: str) -> dict[tuple, tuple]:
    rows = owner.execute(
        "SELECT date, carrier, rounding, sum(messages), sum(unpriced_messages), sum(billed_bytes), sum(cost), max(sims)"
        " FROM metrics.carrier_cost_day WHERE charge = %s GROUP BY 1, 2, 3",
        [charge],
    )
    return {row[:3]: row[3:] for row in rows}


def key(charge: DayCharge) -> tuple[date, str, str]:
    return charge.date, charge.tariff.carrier, charge.tariff.rounding


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


_LAW = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


@given(companies())
@settings(max_examples=20, **_LAW)
def test_the_bill_by_sim_equals_its_twin(owner: psycopg.Connection, company: tuple[list[SimDay], list[Tariff]]) -> None:
    assert_twins(owner, company)


@pytest.mark.long
@given(companies())
@settings(max_examples=300, **_LAW)
def test_many_bills_by_sim_equal_their_twins(
    owner: psycopg.Connection, company: tuple[list[SimDay], list[Tariff]]
) -> None:
    assert_twins(owner, company)


def assert_twins(owner: psycopg.Connection, company: tuple[list[SimDay], list[Tariff]]) -> None:
    usage, tariffs = company
    known = (min(u.date for u in usage), max(u.date for u in usage))
    expected = sim_charges(usage, tariffs, SEOUL, known)
    with owner.transaction(force_rollback=True):
        put(owner, usage, tariffs)
        computed = everything(owner)
        assert store_steps(owner) == stale(owner, stored=True)
        assert stale(owner) == 0 and everything(owner) == computed
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
        assert_shared_out(owner, put_kinds(owner, usage), expected)


def assert_shared_out(
    owner: psycopg.Connection, kinds: dict[tuple[date, str], dict[str, SimDay]], charges: Sequence[DayCharge]
) -> None:
    """What is charged by SIM is borne by the kinds of traffic, in whole steps that add up to the bill."""
    rows = owner.execute(
        "SELECT date, carrier, kind, billed_bytes, cost_krw, unpriced_messages, by_sim_messages"
        " FROM metrics.air_cost_day"
    ).fetchall()
    by_kind = {(day, carrier, kind): tuple(row) for day, carrier, kind, *row in rows}
    for one in charges:
        day, carrier, of = one.date, one.tariff.carrier, one.tariff
        if one.tariff.rounding == "message" or not one.messages:
            continue
        usage = kinds[day, carrier]
        volumes = {
            kind: usage[kind].bytes + (usage[kind].messages - usage[kind].unsized) * of.overhead_bytes
            for kind in sorted(usage, key=("ring", "location").index)
        }
        steps = one.billed_bytes // of.step_bytes
        parts = shared_out(steps, volumes) if any(volumes.values()) else {"(other)": steps}
        for kind, part in parts.items():
            unsized = usage[kind].unsized if kind in usage else 0
            found_here = by_kind.get((day, carrier, kind), (0, Decimal(0), 0, 0))
            assert found_here == (part * of.step_bytes, part * of.price, unsized, 0), (day, carrier, kind)
        mine = [row for (d, c, _), row in by_kind.items() if (d, c) == (day, carrier)]
        assert sum(row[1] for row in mine) == one.usage
        assert sum(row[2] for row in mine) == one.unpriced_messages


def test_every_scope_stands_in_one_bill(owner: psycopg.Connection) -> None:
    """KT changes from messages to SIM and month on 11 February; SKT bills by message; `none` is unknown."""
    change = date(2026, 2, 11)
    tariffs = [
        tariff("kt", date(2026, 1, 1), change, rounding="message", step_bytes=100, price="0.1"),
        tariff("kt", change, allowance_bytes=1_000, base_fee="28"),
        tariff("skt", date(2026, 1, 1), rounding="message", step_bytes=512, price="0.25"),
    ]
    commands, telemetry = {"kt": [60, 61], "skt": [500], "none": [7]}, {"kt": 5_000, "none": 8}
    sizes = {
        carrier: [*some, *([telemetry[carrier]] if carrier in telemetry else [])] for carrier, some in commands.items()
    }
    days = [change - DAY, change, change + DAY]
    usage = [SimDay(d, f"s-{c}", c, len(s), sum(s)) for d in days for c, s in sizes.items()]
    with owner.transaction(force_rollback=True):
        put(owner, usage, tariffs)
        with owner.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {store('traffic')} (window_start, date, command_type, carrier, direction,"
                " messages, source_rows, unseen, bytes, payload, payload_unknown, further, further_unknown)"
                " VALUES (%s, %s, 'ring', %s, 'uplink', %s, 1, 0, %s, %s, 0, '{}', 0)",
                [(midnight(d), d, c, len(s), sum(s), tally(s)) for d in days for c, s in commands.items()],
            )
            cursor.executemany(
                f"INSERT INTO {store('telemetry_traffic')} (window_start, date, kind, carrier, direction,"
                " messages, largest, devices, bytes, payload, payload_unknown)"
                " VALUES (%s, %s, 'location', %s, 'uplink', 1, %s, '', %s, %s, 0)",
                [(midnight(d), d, c, size, size, tally([size])) for d in days for c, size in telemetry.items()],
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
        exported = list(focus_rows(bill_by_kind(owner, date(2026, 2, 1)), stored_tariffs(owner)))
        assert {row["x_Kind"] for row in exported if row["ChargeCategory"] == "Usage"} == {"ring", "location"}
        assert sum(Decimal(str(row["BilledCost"])) for row in exported) == sum(cost for _, cost, _ in bill.values())
        assert sum(int(str(row["x_UnpricedMessages"])) for row in exported) == 6
        assert {row["BillingPeriodEnd"] for row in exported} == {"2026-02-28T15:00:00Z"}
        assert bill_rows(owner, date(2026, 1, 1)) == []
        # Of each day's 5,241 bytes by SIM 201 are of commands: of 6 steps, and then of 5, nearly none.
        cost_of = "SELECT sum(by_sim_messages), sum(unpriced_messages), sum(cost_krw) FROM metrics."
        assert owner.execute(f"{cost_of}air_cost_day").fetchone() == (0, 6, Decimal("12.4"))
        assert owner.execute(f"{cost_of}command_cost_day").fetchone() == (0, 3, Decimal("1.8"))


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE {store('telemetry_sim')} SET bytes = bytes + 777 WHERE date = '2026-02-03'",
        f"DELETE FROM {store('traffic_sim')} WHERE sim = 's-1'",
        "UPDATE fleetgauge.tariff SET step_bytes = step_bytes + 1",
        "UPDATE fleetgauge.ledger SET closed = '{[2026-01-01 00:00+09, 2026-02-11 00:00+09)}' WHERE grain = 'day'",
        "UPDATE fleetgauge.metric_version SET published_at = now() WHERE metric = 'telemetry_sim'",
    ],
    ids=["written again", "gone", "another tariff", "closed", "another version"],
)
def test_what_is_kept_of_a_month_is_never_shown_after_a_change(owner: psycopg.Connection, change: str) -> None:
    usage = [SimDay(FIRST + n * DAY, f"s-{n % 3}", "kt", 2, 900 + n) for n in range(SPAN)]
    with owner.transaction(force_rollback=True):
        put(owner, usage, [tariff("kt", date(2026, 1, 1), allowance_bytes=1_000, base_fee="28")])
        assert store_steps(owner) == 3 and store_steps(owner) == 0
        before = everything(owner)
        owner.execute(change)
        shown, waiting = everything(owner), stale(owner)
        assert waiting > 0
        owner.execute("SET TIME ZONE 'America/New_York'")  # whoever asks, the hash is the same
        assert store_steps(owner) == waiting and stale(owner) == 0
        owner.execute("SET TIME ZONE 'UTC'")
        assert stale(owner) == 0 and everything(owner) == shown
        owner.execute("DELETE FROM fleetgauge.stored_month")
        assert everything(owner) == shown
        assert (shown != before) == ("published_at" not in change)


def test_a_kept_month_is_read_without_its_sims(owner: psycopg.Connection) -> None:
    usage = [SimDay(FIRST + n * DAY, f"s-{sim}", "kt", 2, 900) for n in range(12, 40) for sim in range(50)]
    query = "SELECT sum(cost) FROM metrics.carrier_cost_day WHERE month = '2026-02-01'"
    with owner.transaction(force_rollback=True):
        put(owner, usage, [tariff("kt", date(2026, 1, 1))])
        computed = owner.execute(query).fetchone()
        plan = f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"
        assert rows_read(owner.execute(plan).fetchone()) >= len(usage)
        store_steps(owner)
        assert owner.execute(query).fetchone() == computed
        assert rows_read(owner.execute(plan).fetchone()) <= 8  # twice the first and the last of each table


def rows_read(plan: Any) -> int:
    """How many rows of single SIMs a plan reads."""
    if isinstance(plan, list | tuple):
        return sum(map(rows_read, plan))
    if not isinstance(plan, dict):
        return 0
    mine = int(plan["Actual Rows"] * plan["Actual Loops"]) if "_sim_day__" in plan.get("Relation Name", "") else 0
    return mine + rows_read(list(plan.values()))


def test_a_range_computes_its_own_months_alone(owner: psycopg.Connection) -> None:
    """What is charged by SIM follows from a whole month, so any day of it takes one month and no more."""
    usage = [SimDay(FIRST + n * DAY, "s-1", "kt", 2, 900) for n in range(SPAN)]
    since, until = date(2026, 2, 10), date(2026, 2, 20)
    with owner.transaction(force_rollback=True):
        put(owner, usage, [tariff("kt", date(2026, 1, 1))])
        put_kinds(owner, usage)
        for stem in ("air_cost", "command_cost"):
            over = f"SELECT sum(cost_krw), sum(messages) FROM metrics.{stem}_range(%s, %s)"
            days = f"SELECT sum(cost_krw), sum(messages) FROM metrics.{stem}_day WHERE date >= %s AND date < %s"
            found_here = owner.execute(over, [midnight(since), midnight(until)]).fetchone()
            assert found_here == owner.execute(days, [since, until]).fetchone()
            assert found_here is not None and found_here[0] > 0
            one, two, three = (
                scans(owner, over, [midnight(begin), midnight(end)])
                for begin, end in ((since, until), (since, date(2026, 3, 2)), (date(2026, 1, 25), date(2026, 3, 2)))
            )
            assert 0 < two - one == three - two, "each of the three months is read where the range has days of it"


def scans(connection: psycopg.Connection[Any], query: str, values: list[Any]) -> int:
    """How often a query begins to read what SIMs used by day."""
    counted = (
        "SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::bigint FROM pg_stat_xact_user_tables"
        " WHERE schemaname = 'store' AND relname LIKE '%%\\_sim\\_day\\_\\_%%'"
    )
    before = connection.execute(counted).fetchone()
    connection.execute(query, values).fetchall()
    after = connection.execute(counted).fetchone()
    assert before is not None and after is not None
    return int(after[0]) - int(before[0])


def test_roaming_has_prices_of_its_own(owner: psycopg.Connection) -> None:
    """A SIM at home and abroad on one day: two kinds of traffic, two tariffs, one of which rounds by message."""
    day = date(2026, 2, 3)
    tariffs = [
        tariff("kt", day, rounding="sim_day"),
        tariff("kt", day, price_class="roaming", rounding="message", price="7"),
    ]
    usage = [
        SimDay(day, "s-1", "kt", 2, 1_000),
        SimDay(day, "s-1", "kt/roaming", 1, 961),
        SimDay(day, "s-1", "kt/x", 1, 1),
    ]
    with owner.transaction(force_rollback=True):
        put(owner, usage, tariffs)
        with owner.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {store('traffic')} (window_start, date, command_type, carrier, direction,"
                " messages, source_rows, unseen, bytes, payload, payload_unknown, further, further_unknown)"
                " VALUES (%s, %s, 'ring', %s, 'uplink', %s, 1, 0, %s, %s, 0, '{}', 0)",
                [
                    (
                        midnight(day),
                        day,
                        one.carrier,
                        one.messages,
                        one.bytes,
                        tally([one.bytes // one.messages] * one.messages),
                    )
                    for one in usage
                ],
            )
        bill = owner.execute(
            "SELECT carrier, rounding, messages, cost, unpriced_messages FROM metrics.carrier_cost_day ORDER BY 1"
        ).fetchall()
        assert bill == [
            ("kt", "sim_day", 2, Decimal("1.0"), 0),  # 1,080 bytes
            ("kt/roaming", "message", 1, Decimal(14), 0),  # 1,001 bytes
            ("kt/x", "message", 1, Decimal(0), 1),
        ]
        shown = "SELECT carrier, sum(cost_krw) FROM metrics.command_cost_range(%s, %s) GROUP BY 1 ORDER BY 1"
        costs = owner.execute(shown, [midnight(day), midnight(day + DAY)]).fetchall()
        assert costs == [("kt", Decimal("1.0")), ("kt/roaming", Decimal(14)), ("kt/x", Decimal(0))]
        focus = {
            row["BillingAccountId"]: row["SkuId"] for row in focus_rows(bill_by_kind(owner), stored_tariffs(owner))
        }
        assert focus["kt/roaming"] == "kt/roaming/usage/message"
        assert cost([Messages(midnight(day), "kt/roaming", 961, 1)], stored_tariffs(owner)).amount == 14


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
