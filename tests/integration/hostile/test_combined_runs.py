"""Several things that each are right alone, at once: late rows, corrected prices, silent changes, an erasure, a run."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cli_world import METRIC, Shell
from command_weather import Weather, noon, same_at_every_grain
from command_world import document
from fault_table import fault
from rollup_world import World
from test_restated_prices import VIEW

NOON = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0) - timedelta(days=4)  # in Seoul
SEOUL = ZoneInfo("Asia/Seoul")


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    """Messages of two carriers on three days, and a cost view over them."""
    found = Shell(world, tmp_path)
    found.configure()
    one = found.write(METRIC)
    (tmp_path / "sql/metrics/ride/views.sql").write_text(VIEW)
    prices(found, "0.25")
    found("migrate")
    world.forget(one)
    for day in range(3):
        for carrier in ("skt", "kt"):
            for minute in range(4):
                world.insert(NOON + timedelta(days=day, minutes=minute), zone=carrier)
    ready(world)
    return found


def ready(world: World) -> None:
    world.beat()
    world.catch_up()


def a_night_later(world: World) -> None:
    """No change is so recent that the next run would read it again, so that every hour is compared."""
    world.app.execute("UPDATE facts SET changed_at = changed_at - interval '1 hour'")
    ready(world)


def prices(shell: Shell, price: str) -> None:
    folder = shell.folder / "sql" / "tariffs"
    folder.mkdir(parents=True, exist_ok=True)
    since = (NOON - timedelta(days=30)).isoformat()
    lines = [
        f"  - {{carrier: {carrier}, valid_from: {since}, overhead_bytes: 81, step_bytes: 100, price: '{of}',"
        " rounding: message}"
        for carrier, of in (("skt", price), ("kt", "0.5"))
    ]
    (folder / "prices.yaml").write_text("\n".join(["currency: KRW", "time_zone: Asia/Seoul", "entries:", *lines]))


def counted(world: World) -> dict[str, dict[tuple[Any, ...], int]]:
    found = {}
    for grain in ("minute", "hour", "day"):
        rows = world.metrics.execute(f"SELECT window_start, zone, n FROM metrics.ride_{grain}").fetchall()
        found[grain] = {(at.astimezone(UTC), zone): n for at, zone, n in rows}
        assert len(found[grain]) == len(rows)
    return found


def truth(world: World) -> tuple[dict[str, dict[tuple[Any, ...], int]], dict[tuple[date, str], int]]:
    """By grain, and by local day and carrier."""
    grains: dict[str, dict[tuple[Any, ...], int]] = {grain: defaultdict(int) for grain in ("minute", "hour", "day")}
    days: dict[tuple[date, str], int] = defaultdict(int)
    for at, zone in world.app.execute("SELECT happened_at, zone FROM facts"):
        local = at.astimezone(SEOUL).replace(second=0, microsecond=0)
        for grain, start in (
            ("minute", local),
            ("hour", local.replace(minute=0)),
            ("day", local.replace(hour=0, minute=0)),
        ):
            grains[grain][start.astimezone(UTC), zone] += 1
        days[local.date(), zone] += 1
    return {grain: dict(rows) for grain, rows in grains.items()}, dict(days)


@fault(
    "Rows come late, others are deleted in silence, and a price of the past is corrected, before one run and reconcile",
    number="right at every grain after reconcile, the cost by the corrected price",
    freshness="ok",
    doctor="ok: how many values changed in the last day",
    exporter="fleetgauge_reconcile_differed_total, fleetgauge_rollup_restatements_last_day",
    exit_code="0",
)
def test_late_rows_a_corrected_price_and_a_comparison_at_once(shell: Shell) -> None:
    world = shell.world
    shell("run", "ride")
    world.insert(NOON + timedelta(minutes=2), zone="skt")  # late
    world.insert(NOON + timedelta(days=1, minutes=9), zone="kt")
    world.app.execute(
        "DELETE FROM facts WHERE happened_at = ANY (%s) AND zone = 'skt'",
        [[NOON + timedelta(minutes=3), NOON + timedelta(days=2, minutes=1)]],
    )
    prices(shell, "0.75")
    ready(world)
    shell("migrate")
    shell("run", "ride")
    a_night_later(world)
    shell("reconcile", "ride", "--days", "6")
    grains, days = truth(world)
    assert counted(world) == grains
    costs = world.metrics.execute("SELECT date, carrier, cost FROM metrics.carrier_cost_day").fetchall()
    price = {"skt": Decimal("0.75"), "kt": Decimal("0.5")}
    assert {(at, carrier): cost for at, carrier, cost in costs} == {
        (day, carrier): n * price[carrier] for (day, carrier), n in days.items()
    }
    shell("freshness", "ride")
    reasons = world.metrics.execute(
        "SELECT DISTINCT reason FROM metrics.restatement WHERE metric = 'ride' ORDER BY 1"
    ).fetchall()
    assert {reason for (reason,) in reasons} >= {"late or changed rows", "reconcile"}


def test_a_run_and_a_comparison_beside_each_other_lose_no_late_row(shell: Shell) -> None:
    """Each takes the metric's lock piece by piece, so they take turns in the middle of each other."""
    world = shell.world
    shell("run", "ride")
    begin = threading.Barrier(2)

    def work(*arguments: str) -> None:
        begin.wait(30)
        apart(shell, *arguments)

    for turn in range(3):
        world.insert(NOON + timedelta(minutes=turn), zone="skt")
        world.app.execute(
            "DELETE FROM facts WHERE happened_at = %s AND zone = 'kt'", [NOON + timedelta(days=turn, minutes=turn)]
        )
        ready(world)
        with ThreadPoolExecutor(2) as pool:
            done = [
                pool.submit(work, "run", "ride"),
                pool.submit(work, "reconcile", "ride", "--days", "6"),
            ]
            for one in done:
                one.result(60)
    ready(world)
    shell("run", "ride")
    a_night_later(world)
    shell("reconcile", "ride", "--days", "6")
    grains, _ = truth(world)
    assert counted(world) == grains


def apart(shell: Shell, *arguments: str) -> None:
    """The same command as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fleetgauge", *arguments],
        env={**os.environ, "FLEETGAUGE_CONFIG": str(shell.config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@fault(
    "A command's deadline lies months ahead, by a mistake of its producer or because it is a campaign",
    number="counted as requested and open until its answer or its deadline; other numbers of its windows are right",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0; the windows stay provisional meanwhile",
)
def test_a_deadline_months_ahead_is_open_and_holds_nothing_up(weather: Weather) -> None:
    begin, far = noon(), noon() + timedelta(days=120)

    def ms(at: datetime) -> int:
        return int(at.timestamp() * 1000)

    shape = {"requested_ms": ms(begin), "deadline_ms": ms(far)}
    near = {"requested_ms": ms(begin), "deadline_ms": ms(begin + timedelta(minutes=1)), "command_id": "18"}
    columns = "requested, open, succeeded, unsuccessful"
    weather.run([document("requested", ms(begin), **shape), document("requested", ms(begin), **near)])
    same_at_every_grain(weather.rows(columns, "device_command"), [(2, 1, 0, 1)])
    same_at_every_grain(weather.rows("provisional", "device_command"), [(True,)])
    weather.run([document("responded", ms(begin) + 3_600_000, **shape, result="succeeded")])
    same_at_every_grain(weather.rows(columns, "device_command"), [(2, 0, 1, 1)])
    same_at_every_grain(weather.rows("provisional", "device_command"), [(False,)])
