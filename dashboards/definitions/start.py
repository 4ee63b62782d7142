"""Start: is all well, and where to look if not. For everybody; each number leads to the dashboard behind it."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.annotations import Annotation, firmware_annotation
from dashboards.cells import number
from dashboards.definitions import fleet_health, operations, service
from dashboards.definitions.commands import reads as commands
from dashboards.frame import filled, new_dashboard, of_range, stretch
from dashboards.monitoring import infrastructure, pipeline
from dashboards.monitoring.monitoring_panels import rows
from dashboards.monitoring.pipeline_ingest import behind
from dashboards.panels import CLOCK, EXACT_KRW, HALF, HOURS, KRW, Limits, prop, table_panel, tile
from dashboards.postgres import Sql
from dashboards.prometheus import value

UID = "fleetgauge-start"
METRICS = ("rental", "device_command", "traffic")
OF_PROMETHEUS = "Source: Prometheus."


def build() -> tuple[dashboard.Dashboard, Sequence[Annotation]]:
    """The dashboard and its annotations."""
    found = new_dashboard(
        UID,
        "Start: is all well?",
        "The company, its fleet, its numbers and the pipeline that makes them, each in a row. Click a number to see "
        "what is behind it.",
        ["start"],
        (),
        METRICS,
    ).time("now-24h", "now")
    sections = (
        (f"The company{stretch('rental')}", _company()),
        ("The fleet", _fleet()),
        ("The pipeline", _pipeline()),
        ("Is it wrong, or late?", [_firing(), _numbers()]),
    )
    return filled(found, sections), [firmware_annotation()]


def _sum(stem: str, what: str, name: str) -> Sql:
    return Sql(
        f"""
        SELECT bucket_start AS "time", {what} AS "{name}" FROM {of_range(stem)} GROUP BY 1 ORDER BY 1""",
        "time_series",
    )


def _one(stem: str, what: str, name: str) -> Sql:
    return Sql(f'SELECT {what} AS "{name}" FROM {of_range(stem, "range")}')


def _company() -> list[Builder[Panel]]:
    return [
        tile(
            "Rentals",
            "Rentals that started in the range. Source: metrics.rental_$grain; docs/metrics/rental.md.",
            _sum("rental_by_zone", "sum(started)", "started"),
            link=service.UID,
        ),
        tile(
            "Revenue",
            "Fares less refunds of these rentals, in KRW. Source: metrics.rental_$grain; docs/metrics/rental.md.",
            _sum("rental_by_zone", service.NET, "revenue"),
            unit=KRW,
            decimals=1,
            link=service.UID,
        ),
        tile(
            "Completed",
            "Completed rentals divided by started ones; rides that are still under way lower it. "
            "Source: metrics.rental_$grain; docs/metrics/rental.md.",
            _one("rental_by_zone", "sum(completed)::float8 / nullif(sum(started), 0)", "completion"),
            unit="percentunit",
            decimals=1,
            link=service.UID,
        ),
        tile(
            "Failure rate",
            "(failed + rejected + timed out + expired) / requested. Source: metrics.device_command_$grain; "
            "docs/metrics/device_command.md.",
            _one("device_command_by_command", "sum(unsuccessful)::float8 / nullif(sum(requested), 0)", "failed"),
            unit="percentunit",
            decimals=2,
            link=commands.UID,
        ),
        tile(
            "Traffic cost",
            "Cost of commands and their answers over the air, in KRW. Source: metrics.command_cost_$grain; "
            "docs/cost.md.",
            _one("command_cost", "sum(cost_krw)", "cost"),
            unit=EXACT_KRW,
            decimals=0,
            link=commands.UID,
        ),
        tile(
            "Utilisation",
            "Share of their time in service in which vehicles are on a trip. Source: metrics.vehicle_state_$grain; "
            "docs/metrics/vehicle_state.md.",
            _one("vehicle_state_total", "sum(on_trip_s)::float8 / nullif(sum(in_service_s), 0)", "utilisation"),
            unit="percentunit",
            decimals=1,
            link=operations.UID,
        ),
    ]


def _fleet() -> list[Builder[Panel]]:
    return [
        tile(
            "Suspects",
            "Vehicles that may stop under their rider, as of the newest judged day. "
            "Source: metrics.suspect_vehicle_day; "
            "docs/suspects.md.",
            Sql(fleet_health.SUSPECTS_COUNT),
            no_value="none judged",
            link=fleet_health.UID,
            span=6,
        ),
        tile(
            "Silent devices",
            "Devices quiet for three times their own period at the end of the newest final day. "
            "Source: metrics.device_silence_day; docs/metrics/device_report.md.",
            Sql(f'{fleet_health.SILENT}\nSELECT count(*) AS "silent" FROM silent'),
            link=fleet_health.UID,
            span=6,
        ),
        tile(
            "Faults reported",
            "Errors that the devices' firmware reported. "
            "Source: metrics.device_error_$grain; docs/metrics/device_error.md.",
            _sum("device_error_by_code", "sum(errors)", "errors"),
            no_value="none",
            link=fleet_health.UID,
            span=6,
        ),
        tile(
            "Vehicles fell over",
            "Falls in the range. Source: metrics.tip_over_$grain; docs/metrics/tip_over.md.",
            _sum("tip_over", "sum(fallen)", "fallen"),
            no_value="none",
            link=fleet_health.UID,
            span=6,
        ),
    ]


def _pipeline() -> list[Builder[Panel]]:
    return [
        tile(
            "Alerts",
            f"Alerts of Prometheus that fire now; the list below names them. {OF_PROMETHEUS}",
            value('count(ALERTS{alertstate="firing", severity!="info"}) or vector(0)'),
            unit="none",
            limits=Limits(warn=1, bad=1),
            link=pipeline.UID,
        ),
        tile(
            "Ingest lag",
            f"Age of the oldest event that is not stored. An alert fires above five minutes. {OF_PROMETHEUS}",
            value(behind()),
            unit=CLOCK,
            limits=Limits(warn=300, bad=300),
            link=pipeline.UID,
        ),
        tile(
            "Rollup late",
            f"How long the next minute could have been final: the worst metric. An alert fires at 15 minutes. "
            f"{OF_PROMETHEUS}",
            value('max(fleetgauge_rollup_overdue_seconds{grain="minute"})'),
            unit=CLOCK,
            limits=Limits(warn=900, bad=900),
            link=pipeline.UID,
        ),
        tile(
            "Conditions",
            f"Kinds of trouble with numbers that hold now: blocked, left out, limits and others. {OF_PROMETHEUS}",
            value("count(fleetgauge_rollup_condition > 0) or vector(0)"),
            unit="none",
            limits=Limits(warn=1, bad=1),
            link=pipeline.UID,
        ),
        tile(
            "Not scraped",
            f"Scrape targets that did not answer Prometheus at the last try. {OF_PROMETHEUS}",
            value("count(up == 0) or vector(0)"),
            unit="none",
            limits=Limits(warn=1, bad=1),
            link=infrastructure.UID,
        ),
        tile(
            "Disk full",
            f"By the trend of six hours: the disk that fills first. An alert fires below 24 hours. {OF_PROMETHEUS}",
            value(infrastructure.first_full("")),
            unit=HOURS,
            decimals=0,
            limits=Limits(warn=24, bad=24, rising=False),
            no_value="not known",
            link=infrastructure.UID,
        ).override_by_field_type("number", [infrastructure.NONE_FILLS]),
    ]


def _firing() -> Builder[Panel]:
    return (
        rows(
            "Alerts that fire now",
            f"What woke somebody, or should: docs/alerts.md says what each means and what to do first. {OF_PROMETHEUS}",
            'sum by (severity, alertname, owner) (ALERTS{alertstate="firing"})',
            [("severity", "Severity"), ("alertname", "Alert"), ("owner", "Owner")],
            unit="none",
            span=HALF,
            value_name="Firing",
        )
        .height(10)
        .override_by_name("Severity", [prop("custom.width", 85)])
        .override_by_name("Owner", [prop("custom.width", 95)])
        .override_by_name("Firing", [prop("custom.width", 70)])
    )


def _numbers() -> Builder[Panel]:
    link = prop("links", [{"title": "Its dashboard", "url": "/d/metric-${__value.raw}?${__url_time_range}"}])
    panel = table_panel(
        "Up to when numbers are final",
        "One row a metric, the oldest first. Behind: now less the end of what is final; of a metric by day it grows "
        "all day. Blocked: minutes that keep old rows, since the new ones broke a check. Restated: final values "
        "that changed within a day. Source: metrics.metric, metrics.blocked, metrics.restatement; docs/late-data.md.",
        Sql(
            """
            SELECT m.name AS "Metric", m.final_until AS "Final until",
              extract(epoch FROM now() - m.final_until) AS "Behind",
              (SELECT count(*) FROM metrics.blocked AS b WHERE b.metric = m.metric) AS "Blocked",
              (SELECT count(*) FROM metrics.restatement AS r
               WHERE r.metric = m.metric AND r.restated_at BETWEEN now() - interval '1 day' AND now()) AS "Restated"
            FROM metrics.metric AS m WHERE NOT m.derived ORDER BY 2 NULLS FIRST, 1"""
        ),
        span=HALF,
    )
    return (
        panel.height(10)
        .override_by_name("Metric", [link, prop("custom.width", 140)])
        .override_by_name("Final until", [*number("time:MMM D, HH:mm"), prop("custom.width", 110)])
        .override_by_name("Behind", number(CLOCK))
        .override_by_name("Blocked", number("locale", 0))
        .override_by_name("Restated", number("locale", 0))
    )
