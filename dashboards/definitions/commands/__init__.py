"""Commands: which of them fails, for whom, how slowly, and what it costs in cellular traffic."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import BigValueGraphMode, BigValueTextMode
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.annotations import firmware_annotation, provisional_annotation, restated_annotation
from dashboards.buckets import EACH, sample_variable
from dashboards.cells import coloured, number
from dashboards.definitions.commands import cost, failures, latency
from dashboards.definitions.commands.reads import (
    BY_CARRIER,
    BY_COMMAND,
    BY_FIRMWARE,
    COST,
    COST_SOURCE,
    COST_STRETCH,
    COST_VIEW,
    FILTERS,
    REQUESTS,
    REQUESTS_BY_COMMAND,
    SOURCE,
    STRETCH,
    TRAFFIC_WHERE,
    UID,
    VIEWS,
)
from dashboards.frame import filled, final_until, new_dashboard
from dashboards.panels import EXACT_KRW, KRW, SECONDS, Limits, tile
from dashboards.postgres import Sql


def build() -> tuple[dashboard.Dashboard, Sequence[dict[str, object]]]:
    """The dashboard and its annotations."""
    found = new_dashboard(
        UID,
        "Commands: cost, failure rate, latency",
        "Remote commands to vehicles. A command counts in the window in which it was requested, and its last attempt "
        "decides its outcome. Failure rate = (failed + rejected + timed out + expired) / requested.",
        ["commands"],
        FILTERS,
        ["device_command", "traffic"],
    )
    for views in (VIEWS, BY_COMMAND, BY_FIRMWARE, BY_CARRIER, REQUESTS, REQUESTS_BY_COMMAND):
        found = found.with_variable(views.variable())
    found = found.with_variable(sample_variable(f"SELECT sum(requested) FROM {VIEWS.rows(per='range')}"))
    by_command = f"SELECT sum(requested) FROM {BY_COMMAND.rows(per='range')} GROUP BY command_type"
    mean = f"SELECT sum(n) / nullif(count(*), 0) FROM ({by_command}) AS each_command (n)"
    found = found.with_variable(sample_variable(mean, EACH))
    rows = (
        (f"Over the range{STRETCH}", _tiles()),
        (f"How often do commands fail?{STRETCH}", failures.panels()),
        (f"How long do they take?{STRETCH}", latency.panels()),
        (f"What do they cost? By Command and Carrier only{COST_STRETCH}", cost.panels()),
    )
    return filled(found, rows), [
        provisional_annotation("device_command_total", "device_command"),
        firmware_annotation(),
        restated_annotation("device_command"),
    ]


def _tiles() -> list[Builder[Panel]]:
    return [
        tile(
            "Commands",
            f"Commands requested in the time range. {SOURCE}",
            Sql(
                f"""
            SELECT bucket_start AS "time", sum(requested) AS "requested"
            FROM {VIEWS.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
        ),
        tile(
            "Failure rate",
            "(failed + rejected + timed out + expired) / requested, over the whole time range. Commands whose deadline "
            f"has not passed are not failures yet. {SOURCE}",
            Sql(
                f"""
            SELECT sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS "failure rate"
            FROM {VIEWS.rows(per="range")}"""
            ),
            unit="percentunit",
            decimals=2,
        ),
        tile(
            "Latency p95",
            f"95 of 100 succeeded commands were answered within this time after their request. {SOURCE}",
            Sql(
                f"""
            SELECT fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) / 1000 AS "p95"
            FROM {VIEWS.rows(per="range")}"""
            ),
            unit=SECONDS,
            decimals=1,
        ),
        tile(
            "Traffic cost",
            "Cost of commands, acknowledgements and answers over the air, retries included, in KRW. Unpriced: messages "
            f"without a tariff or a known size, whose cost is missing here. {COST_SOURCE}",
            Sql(
                f"""
            SELECT bucket_start AS "time", sum(cost_krw) AS "cost", sum(unpriced_messages) AS "unpriced"
            FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            unit=KRW,
            decimals=1,
        )
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
        .graph_mode(BigValueGraphMode.NONE)  # it would cover the two small numbers
        .override_by_name("unpriced", [*number("locale", 0), *coloured(Limits(warn=1, bad=1))]),
        tile(
            "Cost / 1,000",
            f"Traffic cost, of what has a price, divided by requested commands, times 1,000, in KRW. {COST_SOURCE}",
            Sql(
                f"""
            SELECT 1000 * cost.krw / nullif(commands.requested, 0) AS "cost per 1,000"
            FROM (SELECT sum(cost_krw) AS krw FROM {COST} WHERE {TRAFFIC_WHERE}) AS cost,
              (SELECT sum(requested) AS requested FROM {REQUESTS.rows(per="range")}) AS commands"""
            ),
            unit=EXACT_KRW,
            decimals=0,
        ),
        tile(
            "Final until",
            "Up to this instant every window of the time range is final: all deadlines have passed and all events "
            f"are in. Later windows are shaded and may still change. {SOURCE}",
            Sql(final_until("device_command_total", "device_command")),
            unit="time:MMM D, HH:mm",
            no_value="not yet",
        ),
    ]
