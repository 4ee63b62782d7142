"""What commands cost in cellular traffic: over time, by command, by carrier, and why."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.buckets import EACH
from dashboards.cells import coloured, gauge_cell, number
from dashboards.definitions.commands.reads import (
    BOTH,
    COMMAND_CELLS,
    COST,
    COST_SOURCE,
    COST_VIEW,
    MOST_SERIES,
    REQUESTS_BY_COMMAND,
    TRAFFIC_WHERE,
)
from dashboards.frame import of_range
from dashboards.panels import COLOURS, EXACT_KRW, FULL, KRW, OTHERS, THIRD, Limits, bars, lines, ranking, table_panel
from dashboards.postgres import Sql


def panels() -> list[Builder[Panel]]:
    """The row's panels."""
    by_type = table_panel(
        f"Cost by command{BOTH}",
        "One row a command type, the dearest first. Bytes are payload; billed bytes add protocol overhead and rounding "
        "up to the tariff's step. Per 1,000: KRW for 1,000 requested commands, answers and retries included. "
        f"Unpriced: messages without a tariff or a known size, whose cost is missing here. {COST_SOURCE}",
        Sql(
            f"""
        WITH cost AS (
          SELECT command_type, sum(messages) AS messages, sum(bytes) AS bytes, sum(billed_bytes) AS billed,
            sum(cost_krw) AS krw, sum(unpriced_messages) AS unpriced
          FROM {COST} WHERE {TRAFFIC_WHERE} GROUP BY 1
        ), commands AS (
          SELECT command_type, sum(requested) AS requested FROM {REQUESTS_BY_COMMAND.rows(per="range")} GROUP BY 1
        )
        SELECT command_type AS "Command", requested AS "Requested", messages AS "Messages", bytes AS "Bytes",
          billed AS "Billed bytes", krw AS "Cost", (krw / nullif(sum(krw) OVER (), 0))::float8 AS "Share",
          1000 * krw / nullif(requested, 0) AS "Per 1,000", unpriced AS "Unpriced"
        FROM cost LEFT JOIN commands USING (command_type) ORDER BY krw DESC NULLS LAST, 1"""
        ),
        span=FULL,
    )
    by_type = (
        by_type.height(10)  # of eight rows none is out of sight
        .unit("locale")
        .decimals(0)
        .override_by_name("Command", COMMAND_CELLS)
        .override_by_name("Bytes", number("decbytes", 1))
        .override_by_name("Billed bytes", number("decbytes", 1))
        .override_by_name("Cost", number(EXACT_KRW, 0))
        .override_by_name("Share", gauge_cell())
        .override_by_name("Per 1,000", number(EXACT_KRW, 0))
        .override_by_name("Unpriced", coloured(Limits(warn=1, bad=1), "text"))
    )
    return [
        bars(
            "Cost per $bucket by command",
            "Traffic cost in KRW by the time of the message, stacked by command type: those that cost most in the "
            f"range, and all others together. {COST_SOURCE}",
            Sql(
                f"""
                WITH point AS (
                  SELECT bucket_start, command_type, sum(cost_krw) AS cost
                  FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1, 2
                ), dearest AS (
                  SELECT command_type FROM point
                  GROUP BY 1 ORDER BY sum(cost) DESC NULLS LAST, 1 LIMIT {COLOURS - 1}
                )
                SELECT bucket_start AS "time", coalesce(dearest.command_type, '{OTHERS}') AS metric,
                  sum(cost) AS "cost"
                FROM point LEFT JOIN dearest USING (command_type) GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit=KRW,
            stacked=True,
        ).span(16),
        ranking(
            "Share of cost by command",
            f"Each command type's part of the traffic cost of the time range. {COST_SOURCE}",
            Sql(
                f"""
            SELECT command_type AS "command", (sum(cost_krw) / nullif(sum(sum(cost_krw)) OVER (), 0))::float8 AS "share"
            FROM {COST} WHERE {TRAFFIC_WHERE} GROUP BY 1 ORDER BY 2 DESC NULLS LAST"""
            ),
            unit="percentunit",
            decimals=1,
        ).max(1),
        by_type,
        ranking(
            "Cost by carrier",
            f"Traffic cost of the time range in KRW, by the SIM's carrier. {COST_SOURCE}",
            Sql(
                f"""
            SELECT carrier AS "carrier", sum(cost_krw) AS "cost"
            FROM {COST} WHERE {TRAFFIC_WHERE} GROUP BY 1 ORDER BY 2 DESC NULLS LAST"""
            ),
            unit=EXACT_KRW,
            decimals=0,
        ),
        bars(
            "Bytes per $bucket by direction",
            "Payload bytes of commands over the air: downlink to the vehicle, uplink (acks, answers) from it. "
            "Filtered by Command and Carrier only. Source: metrics.traffic_$grain.",
            Sql(
                f"""
                SELECT bucket_start AS "time", direction AS metric, sum(bytes) AS "bytes"
                FROM {of_range("traffic")} WHERE {TRAFFIC_WHERE} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit="decbytes",
            stacked=True,
            span=THIRD,
        ),
        lines(
            "Billed bytes per payload byte",
            "How much the tariff's overhead and rounding add: 2 means that twice the payload is paid for. The commands "
            f"that cost most in the range; small messages drive it up. {COST_SOURCE}",
            Sql(
                f"""
                WITH point AS (
                  SELECT bucket_start, command_type, sum(billed_bytes) AS billed, sum(bytes) AS bytes,
                    sum(cost_krw) AS krw
                  FROM {of_range("command_cost", EACH)} WHERE {TRAFFIC_WHERE} GROUP BY 1, 2
                ), dearest AS (
                  -- Days are what a cost of the whole range is made of; where points are, they are not read again.
                  SELECT command_type FROM (
                    SELECT command_type, krw FROM point WHERE fleetgauge.bucket_grain('${{each}}') = 'day'
                    UNION ALL
                    SELECT command_type, cost_krw FROM {COST}
                    WHERE fleetgauge.bucket_grain('${{each}}') <> 'day' AND {TRAFFIC_WHERE}
                  ) AS cost
                  GROUP BY 1 ORDER BY sum(krw) DESC NULLS LAST, 1 LIMIT {MOST_SERIES}
                )
                SELECT bucket_start AS "time", command_type AS metric, billed::float8 / nullif(bytes, 0) AS "billed"
                FROM point WHERE command_type IN (SELECT command_type FROM dearest) ORDER BY 1, 2""",
                "time_series",
            ),
            unit="none",
            span=THIRD,
        ).decimals(1),
    ]
