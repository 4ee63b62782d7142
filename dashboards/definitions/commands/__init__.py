"""Commands: which of them fails, for whom, how slowly, and what it costs in cellular traffic."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import BigValueTextMode
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.definitions.commands import cost, failures, latency
from dashboards.definitions.commands.reads import (
    BOTH,
    BY_CARRIER,
    BY_COMMAND,
    BY_FIRMWARE,
    COMMANDS,
    COST,
    COST_SOURCE,
    COST_STRETCH,
    COST_VIEW,
    FAILURES,
    FILTERS,
    LATENCY,
    SOURCE,
    STRETCH,
    TRAFFIC_WHERE,
    UID,
    VIEWS,
)
from dashboards.frame import filled, final_until, new_dashboard, provisional_annotation
from dashboards.panels import EXACT_KRW, KRW, Limits, coloured, number, stat_tile


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
    for views in (VIEWS, BY_COMMAND, BY_FIRMWARE, BY_CARRIER):
        found = found.with_variable(views.variable())
    rows = (
        ("How often do commands fail?", failures.panels()),
        ("How long do they take?", latency.panels()),
        ("What do they cost?", cost.panels()),
    )
    return filled(found, _tiles(), rows), [provisional_annotation("device_command")]


def _tiles() -> list[Builder[Panel]]:
    return [
        stat_tile(
            f"Commands requested{STRETCH}",
            f"Commands requested in the time range. {SOURCE}",
            f"""
            SELECT bucket_start AS "time", sum(requested) AS "requested"
            FROM {VIEWS.rows()} GROUP BY 1 ORDER BY 1""",
            unit="locale",
            decimals=0,
            total=True,
        ),
        stat_tile(
            f"Failure rate{STRETCH}",
            "(failed + rejected + timed out + expired) / requested, over the whole time range. Commands whose deadline "
            f"has not passed are not failures yet. Amber from 5 %, red from 8 %. {SOURCE}",
            f"""
            SELECT sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS "failure rate"
            FROM {VIEWS.rows(whole=True)}""",
            unit="percentunit",
            decimals=2,
            limits=FAILURES,
        ),
        stat_tile(
            f"Latency p95{STRETCH}",
            "95 of 100 succeeded commands were answered within this time after their request. "
            f"Amber from 5 s, red from 15 s. {SOURCE}",
            f"""
            SELECT fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) AS "p95"
            FROM {VIEWS.rows(whole=True)}""",
            unit="ms",
            decimals=1,
            limits=LATENCY,
        ),
        stat_tile(
            f"Traffic cost{COST_STRETCH}",
            "Cost of commands, acknowledgements and answers over the air, retries included, in KRW. Unpriced: messages "
            f"without a tariff or a known size, whose cost is missing here. {COST_SOURCE}",
            f"""
            SELECT bucket_start AS "time", sum(cost_krw) AS "cost", sum(unpriced_messages) AS "unpriced"
            FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1 ORDER BY 1""",
            unit=KRW,
            decimals=1,
            total=True,
        )
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
        .override_by_name("unpriced", [*number("locale", 0), *coloured(Limits(warn=1, bad=1))]),
        stat_tile(
            f"Cost per 1,000 commands{BOTH}",
            f"Traffic cost, of what has a price, divided by requested commands, times 1,000, in KRW. {COST_SOURCE}",
            f"""
            SELECT 1000 * cost.krw / nullif(commands.requested, 0) AS "cost per 1,000"
            FROM (SELECT sum(cost_krw) AS krw FROM {COST} WHERE {TRAFFIC_WHERE}) AS cost,
              (SELECT sum(requested) AS requested FROM {COMMANDS} WHERE {TRAFFIC_WHERE}) AS commands""",
            unit=EXACT_KRW,
            decimals=0,
        ),
        stat_tile(
            "Final until",
            "Up to this instant every window of the time range is final: all deadlines have passed and all events "
            f"are in. Later windows are shaded and may still change. {SOURCE}",
            final_until("device_command"),
            unit="time:MMM D, HH:mm",
            no_value="not yet",
        ),
    ]
