"""How long commands take: over time, by command, by carrier."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.buckets import EACH, EVENTS
from dashboards.definitions.commands.reads import BY_CARRIER, BY_COMMAND, COMMAND_CELLS, SOURCE, VIEWS
from dashboards.panels import GREY, SECONDS, colour, lines, ranking, shades, table_panel
from dashboards.postgres import Sql


def panels() -> list[Builder[Panel]]:
    """The row's panels."""
    by_type = table_panel(
        "Latency by command",
        "p50 to p99: time from request to answer of succeeded commands. Ack: time from sending to the transport's "
        f"acknowledgement. From mergeable sketches (relative error at most 1 %); the slowest first. {SOURCE}",
        Sql(
            f"""
        WITH types AS (
          SELECT command_type, fleetgauge.sketch_merge(latency_ms) AS latency, fleetgauge.sketch_merge(ack_ms) AS ack
          FROM {BY_COMMAND.rows(per="range")} GROUP BY 1
        )
        SELECT command_type AS "Command",
          fleetgauge.quantile(latency, 0.5) / 1000 AS "p50", fleetgauge.quantile(latency, 0.95) / 1000 AS "p95",
          fleetgauge.quantile(latency, 0.99) / 1000 AS "p99",
          fleetgauge.quantile(ack, 0.5) / 1000 AS "ack p50", fleetgauge.quantile(ack, 0.95) / 1000 AS "ack p95"
        FROM types ORDER BY 3 DESC NULLS LAST, 1"""
        ),
        span=16,
    )
    by_type = by_type.height(10).unit(SECONDS).decimals(2).override_by_name("Command", COMMAND_CELLS)
    return [
        lines(
            "Latency per $sample: p50 and p95",
            "Median and 95th percentile of the time from request to answer of succeeded commands, and 95th percentile "
            f"of the time from sending to the transport's acknowledgement. {SOURCE}",
            Sql(
                f"""
                WITH windows AS (
                  SELECT bucket_start, fleetgauge.sketch_merge(latency_ms) AS latency,
                    fleetgauge.sketch_merge(ack_ms) AS ack
                  FROM {VIEWS.rows(per="sample")} GROUP BY 1
                )
                SELECT bucket_start AS "time",
                  fleetgauge.quantile(latency, 0.5) / 1000 AS "p50",
                  fleetgauge.quantile(latency, 0.95) / 1000 AS "p95",
                  fleetgauge.quantile(ack, 0.95) / 1000 AS "ack p95"
                FROM windows ORDER BY 1""",
                "time_series",
            ),
            unit=SECONDS,
        )
        .override_by_name("p50", [colour("blue")])
        .override_by_name("p95", [colour("purple")])
        .override_by_name("ack p95", [colour(GREY)]),
        shades(
            "Latency p95 by command per $each",
            "95 of 100 succeeded commands were answered within this time, by command type: the darker the longer. "
            f"Grey: fewer than {EVENTS} answers. {SOURCE}",
            Sql(
                f"""
                WITH point AS (
                  SELECT bucket_start, command_type, fleetgauge.sketch_merge(latency_ms) AS latency
                  FROM {BY_COMMAND.rows(per=EACH)} GROUP BY 1, 2
                )
                SELECT bucket_start AS "time", command_type AS metric,
                  CASE WHEN fleetgauge.sketch_count(latency) < {EVENTS} THEN -1
                    ELSE fleetgauge.quantile(latency, 0.95) / 1000 END AS "p95"
                FROM point WHERE latency IS NOT NULL ORDER BY 1, 2""",
                "time_series",
            ),
            unit=SECONDS,
            steps=(2, 5, 15, 45),
            few=f"fewer than {EVENTS} answers",
        ),
        by_type,
        ranking(
            "Latency p95 by carrier",
            f"95th percentile of the time from request to answer of succeeded commands, by carrier. {SOURCE}",
            Sql(
                f"""
                SELECT carrier AS "carrier",
                  fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) / 1000 AS "p95"
                FROM {BY_CARRIER.rows(per="range")} GROUP BY 1 ORDER BY 2 DESC NULLS LAST"""
            ),
            unit=SECONDS,
            decimals=1,
        ).height(10),
    ]
