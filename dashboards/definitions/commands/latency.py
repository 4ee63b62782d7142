"""How long commands take: over time, by command, by carrier."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.definitions.commands.reads import BY_CARRIER, BY_COMMAND, LATENCY, SOURCE, STRETCH, UID, VIEWS
from dashboards.panels import GREY, colour, coloured, filter_link, lines, prop, ranking, table_panel
from dashboards.postgres import Sql


def panels() -> list[Builder[Panel]]:
    """The row's panels."""
    by_type = table_panel(
        f"Latency by command{STRETCH}",
        "p50 to p99: time from request to answer of succeeded commands. Ack: time from sending to the transport's "
        f"acknowledgement. From mergeable sketches (relative error at most 1 %); the slowest first. {SOURCE}",
        f"""
        WITH types AS (
          SELECT command_type, fleetgauge.sketch_merge(latency_ms) AS latency, fleetgauge.sketch_merge(ack_ms) AS ack
          FROM {BY_COMMAND.rows(whole=True)} GROUP BY 1
        )
        SELECT command_type AS "Command",
          fleetgauge.quantile(latency, 0.5) AS "p50", fleetgauge.quantile(latency, 0.95) AS "p95",
          fleetgauge.quantile(latency, 0.99) AS "p99",
          fleetgauge.quantile(ack, 0.5) AS "ack p50", fleetgauge.quantile(ack, 0.95) AS "ack p95"
        FROM types ORDER BY 3 DESC NULLS LAST, 1""",
    )
    by_type = (
        by_type.span(16)
        .unit("ms")
        .decimals(1)
        .override_by_name("Command", [filter_link(UID, "command_type", "command"), prop("custom.minWidth", 140)])
        .override_by_name("p95", coloured(LATENCY))
    )
    return [
        lines(
            f"Latency per $grain{STRETCH}",
            "Median and 95th percentile of the time from request to answer of succeeded commands, and 95th percentile "
            f"of the time from sending to the transport's acknowledgement. {SOURCE}",
            Sql(
                f"""
                WITH windows AS (
                  SELECT bucket_start, fleetgauge.sketch_merge(latency_ms) AS latency,
                    fleetgauge.sketch_merge(ack_ms) AS ack
                  FROM {VIEWS.rows()} GROUP BY 1
                )
                SELECT bucket_start AS "time",
                  fleetgauge.quantile(latency, 0.5) AS "p50",
                  fleetgauge.quantile(latency, 0.95) AS "p95",
                  fleetgauge.quantile(ack, 0.95) AS "ack p95"
                FROM windows ORDER BY 1""",
                "time_series",
            ),
            unit="ms",
        )
        .override_by_name("p50", [colour("blue")])
        .override_by_name("p95", [colour("purple")])
        .override_by_name("ack p95", [colour(GREY)]),
        lines(
            f"Latency p95 per $grain by command{STRETCH}",
            f"95th percentile of the time from request to answer of succeeded commands, by command type. "
            f"Logarithmic. {SOURCE}",
            Sql(
                f"""
                SELECT bucket_start AS "time", command_type AS metric,
                  fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) AS "p95"
                FROM {BY_COMMAND.rows()} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit="ms",
            logarithmic=True,
        ),
        by_type,
        ranking(
            f"Latency p95 by carrier{STRETCH}",
            f"95th percentile of the time from request to answer of succeeded commands, by carrier. {SOURCE}",
            f"""
            SELECT carrier AS "carrier", fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) AS "p95"
            FROM {BY_CARRIER.rows(whole=True)} GROUP BY 1 ORDER BY 2 DESC NULLS LAST""",
            unit="ms",
            decimals=1,
        ),
    ]
