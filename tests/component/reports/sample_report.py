"""A report of a simulated company, made without a server."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from company_facts import EVENING, HOUR_MS, PLANTED, cells_of_plan, cost_of_plan

from fleetgauge.reports.business_findings import RentalCell, RentalPoint, business_report
from fleetgauge.reports.command_facts import CostPoint, KindCost, RatePoint
from fleetgauge.reports.command_findings import command_report
from fleetgauge.reports.firmware_findings import firmware_report
from fleetgauge.reports.fleet_findings import FleetReport, Precision, SilentVehicle, StateShare, SuspectLine
from fleetgauge.reports.fleet_report import FleetgaugeReport
from fleetgauge.reports.report_range import MetricState, ReportRange, RowsLeftOut
from fleetlab.simulator import Scale, Timeline, commands

DAYS = 2


def sample(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """As `to_dict` gives it, of two days with the two before; something of everything that a page may have to show."""
    monkeypatch.setattr(commands, "FIRMWARE_FAILURE", PLANTED)
    since = EVENING.replace(minute=0) - timedelta(days=DAYS)
    now, then = (
        Timeline(Scale(vehicles=300, days=DAYS, seed=seed, live_seconds=0), begin)
        for seed, begin in ((7, since), (8, since - timedelta(days=DAYS)))
    )
    over = ReportRange(since, since + timedelta(days=DAYS), "Asia/Seoul", "hour")
    cells, cost = cells_of_plan(now), cost_of_plan(now)
    hours = [since + timedelta(hours=n) for n in range(DAYS * 24)]
    totals: dict[int, list[int]] = {}
    by_type: dict[tuple[int, str], int] = {}
    for one in now.commands():
        hour = one.attempts[0].requested_ms // HOUR_MS
        total = totals.setdefault(hour, [0, 0])
        total[0] += 1
        total[1] += one.outcome != "succeeded"
        by_type[hour, one.attempts[0].type] = by_type.get((hour, one.attempts[0].type), 0) + len(one.attempts)
    first = int(since.timestamp()) // 3600
    rates = [RatePoint(at, *totals.get(first + n, [0, 0]), n > 46) for n, at in enumerate(hours)]
    points = [CostPoint(hours[h - first], kind, 1.3 * n) for (h, kind), n in sorted(by_type.items()) if h - first < 48]
    kinds = [
        KindCost("telemetry", "location", 48_211, 6_112_340, Decimal("9120.25"), 311, 0),
        KindCost("commands", "locate", 7_310, 19_772_101, Decimal("6204.5"), 44, 120),
    ]
    zones = sorted({one.zone.code for one in now.trips.rentals})
    rentals = [
        RentalCell(zone, model, 40 + 7 * i + 3 * k, 38 + 7 * i + 3 * k, (i + k) % 3, 61_000.0 + 9_000 * i, 900.0 * k)
        for i, zone in enumerate(zones)
        for k, model in enumerate(("g30-max", "kick-x1"))
    ]
    states = (
        MetricState("device_command", over.before, over.until, None, True, "", ()),
        MetricState(
            "rental", over.before, over.until, since + timedelta(hours=40), True, "", (RowsLeftOut("infinite", 3),)
        ),
    )
    fleet = FleetReport(
        date(2026, 11, 17),
        (
            SuspectLine("sc-00042", 3.2, 0.961, date(2026, 11, 16), "2026-11-16 +6.8 a fault code as it stopped"),
            SuspectLine(
                "sc-00311", 0.4, 0.599, date(2026, 11, 15), "2026-11-15 +5.5 nothing heard until the trip ended"
            ),
        ),
        2,
        (Precision(date(2026, 11, 1), 9, 7, 6, 1),),
        tuple(StateShare(n, v, v * 0.97) for n, v in (("available", 211.3), ("on_trip", 24.9), ("removed", 8.2))),
        (SilentVehicle("sc-00007", date(2026, 11, 12), 101.5, 0.4, 61.5),),
        1,
        date(2026, 11, 16),
        "",
    )
    return FleetgaugeReport(
        EVENING,
        over,
        states,
        {},
        command_report(cells, cells_of_plan(then), cost, cost_of_plan(then), points, rates, kinds),
        firmware_report(cells),
        fleet,
        business_report(rentals, rentals[3:], [RentalPoint(at, 30 + n % 24, False) for n, at in enumerate(hours)]),
    ).to_dict()
