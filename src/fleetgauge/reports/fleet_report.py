"""One report: read in one read-only transaction, held in one object, which every way of showing it shows."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fleetgauge import postgres
from fleetgauge.clock import SystemClock
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection
from fleetgauge.reports import command_facts
from fleetgauge.reports.business_findings import BusinessReport, read_business
from fleetgauge.reports.command_findings import CommandReport, command_report
from fleetgauge.reports.firmware_findings import FirmwareReport, firmware_report
from fleetgauge.reports.fleet_findings import FleetReport, fleet_report
from fleetgauge.reports.report_range import (
    MetricState,
    ReportRange,
    between,
    final_until,
    known_metrics,
    of_length,
    states,
    time_zone_of,
)
from fleetgauge.settings import Settings

SECTIONS = ("commands", "firmware", "fleet", "business")
NEEDED = {
    "commands": ("device_command", "command_cost", "air_cost", "traffic"),
    "firmware": ("device_command",),
    "fleet": (),
    "business": ("rental",),
}
"""Of each section the views without which there is none."""
_METRICS = ("device_command", "traffic", "telemetry_traffic", "rental", "vehicle_state")
_ALSO = {"commands": ("telemetry_traffic",), "fleet": ("vehicle_state",)}
"""Metrics whose numbers a section shows if they are there."""
_DERIVED = ("command_cost", "air_cost")
_TIMEOUT = "60s"


@dataclass(frozen=True)
class Asked:
    """Which sections of which stretch: two instants, or a length that ends where the numbers are final."""

    sections: Collection[str] = SECTIONS
    since: datetime | None = None
    until: datetime | None = None
    length: timedelta = timedelta(days=7)


@dataclass(frozen=True)
class FleetgaugeReport:
    """What is shown. A section is None if it was not asked for, or if `missing` says why there is none."""

    made_at: datetime
    over: ReportRange
    states: tuple[MetricState, ...]
    missing: dict[str, str]
    commands: CommandReport | None
    firmware: FirmwareReport | None
    fleet: FleetReport | None
    business: BusinessReport | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: plain values, instants in the report's time zone."""
        plain: dict[str, Any] = _plain(asdict(self), ZoneInfo(self.over.time_zone))
        plain["range"] = {
            **plain.pop("over"),
            "before": _plain(self.over.before, ZoneInfo(self.over.time_zone)),
        }
        return plain


def make_report(settings: Settings, asked: Asked) -> FleetgaugeReport:
    """Reads the metrics database and makes the findings. Blocks for seconds; raises `Transient`, `Terminal`, `Stop`."""
    unknown = sorted({*asked.sections} - {*SECTIONS})
    if unknown:
        raise Terminal(f"no report is called {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    database = postgres.metrics(settings.metrics)
    options = {"default_transaction_read_only": "on", "statement_timeout": _TIMEOUT}
    with database.session("report", **options) as connection:
        connection.isolation_level = postgres.IsolationLevel.REPEATABLE_READ  # one snapshot: sections agree
        with connection.transaction():
            return _read(connection, asked)


def _read(connection: Connection, asked: Asked) -> FleetgaugeReport:
    known = known_metrics(connection, (*_METRICS, *_DERIVED))
    missing = {
        section: f"there is no metrics.{lacking[0]}_range; see fleetgauge metrics ls, and run fleetgauge migrate"
        for section in SECTIONS
        if section in asked.sections and (lacking := [one for one in NEEDED[section] if one not in known])
    }
    present = [one for one in _METRICS if one in known]
    over = _range(connection, asked, present)
    wanted = {section for section in asked.sections if section not in missing}
    found = states(connection, over, [one for one in present if _concerns(one, wanted)])
    covered = {one.metric: one.before_covered for one in found}
    cells = (
        command_facts.command_cells(connection, over.since, over.until, over.grain)
        if wanted & {"commands", "firmware"}
        else []
    )
    return FleetgaugeReport(
        SystemClock().now().astimezone(UTC),
        over,
        found,
        missing,
        _commands(connection, over, cells, covered) if "commands" in wanted else None,
        firmware_report(cells) if "firmware" in wanted else None,
        fleet_report(connection, over, states="vehicle_state" in known, covered=covered.get("vehicle_state", False))
        if "fleet" in wanted
        else None,
        read_business(connection, over, covered=covered["rental"]) if "business" in wanted else None,
    )


def _range(connection: Connection, asked: Asked, present: Collection[str]) -> ReportRange:
    leading = [one for one in ("device_command", "traffic") if one in present] or [*present][:1]
    if not leading:
        raise Terminal("the metrics database has none of the metrics that a report reads; run fleetgauge migrate")
    zone = time_zone_of(connection, leading[0])
    if asked.since is not None and asked.until is not None:
        return between(asked.since, asked.until, zone)
    return of_length(asked.until or final_until(connection, leading), asked.length, zone)


def _concerns(metric: str, wanted: Collection[str]) -> bool:
    return any(metric in (*NEEDED[one], *_ALSO.get(one, ())) for one in wanted)


def _commands(
    connection: Connection, over: ReportRange, cells: list[command_facts.CommandCell], covered: dict[str, bool]
) -> CommandReport:
    before = covered["device_command"] and covered["traffic"]
    return command_report(
        cells,
        command_facts.command_cells(connection, over.before, over.since, over.grain) if before else None,
        command_facts.cost_cells(connection, over.since, over.until),
        command_facts.cost_cells(connection, over.before, over.since) if before else None,
        command_facts.cost_points(connection, over.since, over.until, over.grain),
        command_facts.rate_points(connection, over.since, over.until, over.grain),
        command_facts.kind_costs(connection, over.since, over.until),
    )


def _plain(value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat()
    if isinstance(value, dict):
        return {key: _plain(one, zone) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, zone) for one in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
