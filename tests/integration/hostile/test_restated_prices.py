"""A price that is corrected says which days it restates, for which carriers, and how much the cost moved."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from pathlib import Path

import pytest
from cli_world import METRIC, Shell
from fault_table import fault
from rollup_world import World

NOON = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0) - timedelta(days=3)  # in Seoul
VIEW = """
CREATE OR REPLACE VIEW metrics.carrier_cost_day AS
SELECT d.window_start, d.date, d.zone AS carrier, sum(d.n * t.price) AS cost,
    coalesce(sum(d.n) FILTER (WHERE t.price IS NULL), 0)::bigint AS unpriced_messages
FROM metrics.ride_day AS d LEFT JOIN fleetgauge.tariff AS t
    ON t.carrier = d.zone AND t.valid_from <= d.window_start AND d.window_start < t.valid_to
GROUP BY 1, 2, 3;
"""


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    """Messages of two carriers on three days, and a cost view over them."""
    found = Shell(world, tmp_path)
    found.configure()
    found.write(METRIC)
    (tmp_path / "sql/metrics/ride/views.sql").write_text(VIEW)
    for day in range(3):
        for carrier in ("skt", "kt"):
            for _ in range(day + 1):
                world.insert(NOON + timedelta(days=day), zone=carrier)
    world.beat()
    world.catch_up()
    return found


def _prices(shell: Shell, *entries: tuple[str, datetime, str]) -> None:
    folder = shell.folder / "sql" / "tariffs"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"  - {{carrier: {carrier}, valid_from: {since.isoformat()}, overhead_bytes: 81, step_bytes: 100,"
        f' price: "{price}", rounding: message}}'
        for carrier, since, price in entries
    ]
    (folder / "prices.yaml").write_text("\n".join(["currency: KRW", "time_zone: Asia/Seoul", "entries:", *lines]))


@fault(
    "A price of the past is corrected in sql/tariffs, or taken away",
    number="the cost under the corrected price, from the migration on; what has no price is counted as that",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0; migrate and its dry run name carrier, days and the sums before and after; fleetgauge.tariff_change",
)
def test_a_corrected_price_says_what_it_moves(shell: Shell) -> None:
    world, began = shell.world, NOON - timedelta(days=30)
    second = NOON + timedelta(days=1) - timedelta(hours=12)  # midnight in Seoul before the second day
    _prices(shell, ("skt", began, "0.25"), ("kt", began, "0.5"))
    first = shell("migrate", "--json").json["tariffs"]
    assert [(one["change"]["carrier"], one["change"]["before"], one["days"]) for one in first] == [
        ("kt", None, []),
        ("skt", None, []),
    ]
    shell("run", "ride")
    assert "nothing to do" in shell("migrate").out
    runs = [one for one in shell("runs", "ride", "--json").json if one["command"] == "migrate"]
    assert {stage["stage"] for one in runs for stage in one["stages"]} >= {"CreateTables", "ChangePrices"}

    _prices(shell, ("skt", began, "0.25"), ("skt", second, "0.5"), ("kt", began, "0.5"))
    log = "SELECT count(*) FROM fleetgauge.tariff_change"
    before = world.metrics.execute(log).fetchone()
    for arguments in (("migrate", "--dry-run", "--json"), ("migrate", "--json")):
        (one,) = shell(*arguments).json["tariffs"]
        assert (one["change"]["carrier"], one["change"]["end"]) == ("skt", None)
        assert datetime.fromisoformat(one["change"]["begin"]) == second
        assert one["change"]["before"]["price"] == "0.25"
        moved = [(day["date"], Decimal(day["before"]), Decimal(day["after"])) for day in one["days"]]
        days = [(NOON + timedelta(days=n)).date() for n in (1, 2)]
        assert moved == [(str(days[0]), Decimal("0.5"), Decimal(1)), (str(days[1]), Decimal("0.75"), Decimal("1.5"))]
        if "--dry-run" in arguments:
            assert world.metrics.execute(log).fetchone() == before
    assert "nothing to do" in shell("tariffs", "restate").out
    row = world.metrics.execute(
        "SELECT carrier, valid_from, first_day, last_day, days, cost_before, cost_after, after->>'price'"
        " FROM fleetgauge.tariff_change ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert row == ("skt", second, *days, 2, Decimal("1.25"), Decimal("2.5"), "0.5")
    restated = "SELECT dimensions, measure, before::numeric, after::numeric, reason FROM metrics.restatement"
    told = world.metrics.execute(f"{restated} WHERE level = 'cost_day' ORDER BY window_start").fetchall()
    changed = [("0.5", "1"), ("0.75", "1.5")]
    assert told == [({"carrier": "skt"}, "cost", *map(Decimal, values), "tariff") for values in changed]
    listed = [one for one in shell("restatements", "ride", "--json").json if one["reason"] == "tariff"]
    (run_id,) = {one["run_id"] for one in listed}
    assert [
        (one["dimensions"]["carrier"], Decimal(one["change"])) for one in sorted(listed, key=itemgetter("window_start"))
    ] == [
        ("skt", Decimal("0.5")),
        ("skt", Decimal("0.75")),
    ]
    last = shell("runs", "ride", "--json").json[0]
    assert (last["id"], last["command"], last["stages"][0]["reason"]) == (run_id, "migrate", "tariff")
    assert world.metrics.execute("SELECT run_id FROM fleetgauge.tariff_change ORDER BY id DESC LIMIT 1").fetchone() == (
        run_id,
    )
    shown = shell("restatements", "ride").out
    assert "carrier_cost_day" in shown and "carrier=skt" in shown and "+0.75" in shown and "tariff" in shown
    assert "2 value(s) of metric ride that were final changed" in shell("doctor").out

    _prices(shell, ("skt", began, "0.25"), ("skt", second, "0.5"))
    moved: dict[str, list[Decimal]] = {}
    for number, day in enumerate([NOON + timedelta(days=n) for n in range(3)], 1):
        sums = moved.setdefault(f"{day + timedelta(hours=9):%Y-%m}-01", [Decimal(0), Decimal(0)])
        sums[0] -= number * Decimal("0.5")
        sums[1] += number
    told = shell("tariffs", "restate", "--dry-run", "--json").json
    assert [one["carrier"] for one in told["changes"]] == ["kt"]
    assert {one["month"]: [Decimal(one["difference"]), one["unpriced_after"]] for one in told["months"]} == moved
    assert "nothing was changed (--dry-run)" in shell("tariffs", "restate", "--dry-run").out
    said = shell("migrate").out
    assert "price of kt from" in said
    assert "-> no tariff" in said
    assert "restates 3 day(s)" in said
    assert "3 -> 0 KRW (-3)" in said
    assert "messages without a price on these days: 0 -> 6" in said
    assert "nothing to do" in shell("migrate").out
