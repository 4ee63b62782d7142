"""What is kept of a month is what the view computes, and is not shown once anything that it follows from changes."""

from datetime import date
from typing import Any

import psycopg
import pytest
from sim_rows import FIRST, SPAN, everything, put, stale, store, tariff

from fleetgauge.cost.charges import DAY, SimDay
from fleetgauge.cost.sim_steps import store_steps


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
