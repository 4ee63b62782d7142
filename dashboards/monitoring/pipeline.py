"""Pipeline: is what the dashboards show complete, and if not, where does it wait? For on-call engineers."""

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import VisibilityMode
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.frame import filled
from dashboards.monitoring import pipeline_ingest
from dashboards.monitoring.monitoring_panels import monitoring_dashboard, rows
from dashboards.monitoring.pipeline_ingest import CONSUMER, EVERY, behind
from dashboards.panels import BLUE, CLOCK, MINUTES, RED, SECONDS, THIRD, Limits, colour, lines, tile
from dashboards.prometheus import label_variable, series, value

UID = "fleetgauge-pipeline"
METRIC = 'metric=~"$metric"'

MOST = 5
"""Metrics that a chart tells apart."""
SOME = Limits(warn=1, bad=1)
"""Nothing should be there at all."""


def longest(selector: str, then: str = "") -> str:
    """PromQL of the series that come highest in the time range; `then`: what follows each."""
    return f"({selector} and topk({MOST}, max_over_time({selector}[$__range] @ end()))){then}"


def where_any(
    title: str, description: str, *queries: prometheus.Dataquery, limit: float | None = None
) -> Builder[Panel]:
    """Counts of what should not be, only where there is any: a line on the floor for each metric would say nothing."""
    panel = lines(title, description, *queries, unit="locale", limit=limit, trouble=True, span=THIRD)
    return panel.no_value("none").show_points(VisibilityMode.AUTO)


def build() -> dashboard.Dashboard:
    """The dashboard."""
    found = monitoring_dashboard(
        UID,
        "Pipeline: lag, dead letters, what is not final",
        "From Kafka to the aggregates: how far each step is behind, and what is late, left out or withheld.",
        ["pipeline"],
    )
    found = found.with_variable(label_variable("consumer", "Consumer", "fleetgauge_ingest_build_info"))
    found = found.with_variable(label_variable("metric", "Metric", "fleetgauge_rollup_lag_seconds"))
    sections = (
        ("Now", _tiles()),
        ("Ingest: Kafka to Elasticsearch", pipeline_ingest.panels()),
        ("What was not stored", pipeline_ingest.dead_letters()),
        ("Rollup: to minutes, hours and days", _rollup()),
        ("Freshness: from the commit or the append to the number", _delays()),
        ("Late, withheld, changed", _truth()),
        ("Commands", _commands()),
        ("Sources", _sources()),
    )
    return filled(found, sections)


def _tiles() -> list[Builder[Panel]]:
    return [
        tile(
            "Ingest lag",
            "How long ago the oldest event was appended that is not stored yet: the worst partition. 0 is caught up. "
            "Growing: more consumers, or look at bulk requests below.",
            value(behind(CONSUMER)),
            unit=CLOCK,
            decimals=0,
            limits=Limits(warn=300, bad=300),
        ),
        tile(
            "Rollup late",
            "How long the next minute could have been final: the worst metric. Runs are late or fail.",
            value(f'max(fleetgauge_rollup_overdue_seconds{{{METRIC}, grain="minute"}})'),
            unit=CLOCK,
            decimals=0,
            limits=Limits(warn=900, bad=900),
        ),
        tile(
            "Conditions",
            "Kinds of trouble that `fleetgauge freshness` tells, over all metrics: blocked cells, left-out rows, "
            "full dimensions and others; the table below names them.",
            value(f"count(fleetgauge_rollup_condition{{{METRIC}}} > 0) or vector(0)"),
            unit="none",
            limits=SOME,
        ),
        tile(
            "Dead letters",
            "Records of the last 24 hours that could not be stored; dead-letter topics keep them. "
            "`fleetgauge dlq ls` shows them.",
            value(f"sum(increase(fleetgauge_ingest_dead_letters_total{{{CONSUMER}}}[24h]))"),
            limits=SOME,
        ),
        tile(
            "Replica lag",
            "How far the source's watermark was behind at the last run: the worst. Runs wait when it is too far.",
            value(f"max(fleetgauge_source_lag_seconds{{{METRIC}}})"),
            unit=CLOCK,
            decimals=0,
            limits=Limits(warn=300, bad=300),
        ),
        tile(
            "Restated",
            "Values that changed within the last day though their window was final. `fleetgauge restatements` says "
            "which, and why.",
            value(f"sum(fleetgauge_rollup_restatements_last_day{{{METRIC}}})"),
        ),
    ]


def _rollup() -> list[Builder[Panel]]:
    return [
        lines(
            "Age of what is final",
            "Now less the end of the final minutes, of the metrics where it is longest: what is younger is "
            "provisional. One that rises as fast as time goes by stands still.",
            series(longest(f'fleetgauge_rollup_lag_seconds{{{METRIC}, grain="minute"}}', " / 60"), "{{metric}}"),
            unit=MINUTES,
            span=THIRD,
        ),
        lines(
            "Minutes overdue",
            "How long the next minute could have been final, of the metrics that wait longest.",
            series(longest(f'fleetgauge_rollup_overdue_seconds{{{METRIC}, grain="minute"}}', " / 60"), "{{metric}}"),
            unit=MINUTES,
            limit=15,
            span=THIRD,
        ),
        lines(
            "Not computed",
            "Minutes up to now that are not computed, of the metrics that lack most. It grows when there is no run, or "
            "runs do not keep up.",
            series(longest(f"fleetgauge_rollup_pending_minutes{{{METRIC}}}"), "{{metric}}"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Windows and cells per minute",
            "Whole windows by runs and backfills, and cells that were computed anew since a row of theirs had changed.",
            series(f"sum(rate(fleetgauge_rollup_windows_total{{{METRIC}}}{EVERY})) * 60", "windows"),
            series(f"sum(rate(fleetgauge_rollup_cells_total{{{METRIC}}}{EVERY})) * 60", "cells", "B"),
            unit="locale",
            span=THIRD,
        ),
        where_any(
            "Runs failed or put off per hour",
            "A run is put off when its source is too far behind; `fleetgauge runs` and the task's log say why one "
            "failed.",
            series(
                f"sum by (metric) (increase(fleetgauge_rollup_failures_total{{{METRIC}}}[1h])) > 0",
                "{{metric}}, failed",
            ),
            series(
                f"sum by (metric) (increase(fleetgauge_rollup_deferrals_total{{{METRIC}}}[1h])) > 0",
                "{{metric}}, put off",
                "B",
            ),
        ),
        lines(
            "Time on the sources",
            "The share of time that is spent in transactions on the replica and the metrics database: the metrics that "
            "take most.",
            series(
                f"sum by (metric) (rate(fleetgauge_source_query_seconds_total{{{METRIC}}}{EVERY})) and topk({MOST}, "
                f"sum by (metric) (increase(fleetgauge_source_query_seconds_total{{{METRIC}}}[$__range] @ end())))",
                "{{metric}}",
            ),
            unit="percentunit",
            stacked=True,
            span=THIRD,
        ),
    ]


def _delays() -> list[Builder[Panel]]:
    buckets = f"rate(fleetgauge_rollup_delay_seconds_bucket{{{METRIC}}}[15m])"
    return [
        lines(
            "Until the number can be read",
            "From the commit on the primary, or the append in Kafka, until the number is in the tables: how long a "
            "change takes at whatever moment it comes, over the last 15 minutes, all metrics. An upper bound, measured "
            "by heartbeat. The minute schedule promises 65 s at the 99th percentile, `fleetgauge run --follow` 10 s.",
            *(
                series(f"histogram_quantile({share}, sum by (le) ({buckets}))", name, ref)
                for share, name, ref in ((0.5, "median", "A"), (0.99, "p99", "B"))
            ),
            unit=SECONDS,
            limit=65,
        ),
        lines(
            "Until the number can be read: 99th percentile by metric",
            "The same of the metrics where it takes longest. Those without minutes are computed once an hour, and so "
            "late.",
            series(
                f"histogram_quantile(0.99, sum by (metric, le) ({buckets})) and topk({MOST}, histogram_quantile(0.99, "
                f"sum by (metric, le) ({buckets.replace('[15m]', '[$__range] @ end()')})))",
                "{{metric}}",
            ),
            unit=SECONDS,
        ),
    ]


def _truth() -> list[Builder[Panel]]:
    return [
        rows(
            "Conditions that hold",
            "What makes a number late, partial, withheld or wrong, by metric, and how often it holds. "
            "`fleetgauge freshness` and `fleetgauge doctor` say what to do.",
            f"fleetgauge_rollup_condition{{{METRIC}}} > 0",
            [("metric", "Metric"), ("condition", "Condition")],
            unit="locale",
            value_name="Times",
        ),
        rows(
            "Dimensions by how full they are",
            "Distinct values in percent of the limit. At 100 % further values are counted together: raise `limit`, or "
            "expire values with `fleetgauge dimensions`.",
            f"sort_desc(fleetgauge_dimension_values{{{METRIC}}} / fleetgauge_dimension_limit)",
            [("metric", "Metric"), ("dimension", "Dimension")],
            unit="percentunit",
            value_name="Full",
        ),
        where_any(
            "Rows left out",
            "Rows of the source that are in no number, by reason. The metric's dashboard counts them by range.",
            series(f"sum by (metric, reason) (fleetgauge_rollup_left_out_rows{{{METRIC}}})", "{{metric}}, {{reason}}"),
        ),
        where_any(
            "Blocked cells",
            "Cells that keep their old rows, since the new ones broke a check.",
            series(f"fleetgauge_rollup_blocked_cells{{{METRIC}}} > 0", "{{metric}}"),
            limit=1,
        ),
        where_any(
            "Restated per hour",
            "Cells whose number was final and changed: refunds, late events, corrections. Many: lengthen grace. "
            "`fleetgauge restatements` lists them, and the dashboards of metrics mark them.",
            series(f"sum by (metric) (increase(fleetgauge_rollup_restated_total{{{METRIC}}}[1h])) > 0", "{{metric}}"),
        ),
        lines(
            "Days that can be recomputed",
            "What is older is frozen: its source or its rows have expired, so late rows are counted and not applied. "
            "The metrics that have fewest.",
            series(
                f"bottomk({MOST}, (time() - fleetgauge_rollup_frozen_before_timestamp_seconds{{{METRIC}}}) / 86400)",
                "{{metric}}",
            ),
            unit="locale",
            span=THIRD,
        ),
        where_any(
            "Runs put off or failing, now",
            "1 while the last run of a metric was put off, failed, or fills a version that the views do not show yet.",
            series(f"fleetgauge_rollup_failing{{{METRIC}}} > 0", "{{metric}}, failing"),
            series(f"fleetgauge_rollup_deferred{{{METRIC}}} > 0", "{{metric}}, put off", "B"),
            series(f"fleetgauge_rollup_waiting{{{METRIC}}} > 0", "{{metric}}, filling", "C"),
        ),
        where_any(
            "Too late to be counted",
            "Cells whose rows changed after their source or their own rows had expired: they stay as they are.",
            series(f"fleetgauge_rollup_late_unapplied_total{{{METRIC}}} > 0", "{{metric}}"),
        ),
    ]


def _commands() -> list[Builder[Panel]]:
    return [
        lines(
            "Commands in doubt",
            "Attempts whose events disagree, events stored more than once with other values, and messages that no "
            "event tells of: they are counted, and billed without a size.",
            series("max(fleetgauge_commands_conflicting)", "conflicting attempts"),
            series("max(fleetgauge_commands_disagreeing)", "disagreeing events", "B"),
            series("max(fleetgauge_commands_unseen)", "messages without an event", "C"),
            unit="locale",
            trouble=True,
        ),
        lines(
            "Command events left out",
            "Documents that are no command event, events that came after their month was dropped, and ids that a "
            "device uses for two events.",
            series("max(fleetgauge_commands_unusable_total)", "unusable"),
            series("max(fleetgauge_commands_expired_total)", "expired", "B"),
            series("max(fleetgauge_commands_reused_ids_total)", "ids used twice", "C"),
            unit="locale",
            trouble=True,
        ),
    ]


def _sources() -> list[Builder[Panel]]:
    return [
        lines(
            "Replica behind, by metric",
            "How far the source's watermark was behind at the last run, of the metrics where it was most.",
            series(longest(f"fleetgauge_source_lag_seconds{{{METRIC}}}"), "{{metric}}"),
            unit=SECONDS,
            limit=300,
            span=THIRD,
        ),
        lines(
            "Clocks apart",
            "How far the clocks of worker, metrics database and replica were apart at the last run, of the metrics "
            "where it was most. Over 10: see NTP.",
            series(longest(f"fleetgauge_clock_skew_seconds{{{METRIC}}}"), "{{metric}}"),
            unit=SECONDS,
            limit=10,
            span=THIRD,
        ),
        lines(
            "Reconciled and different, per day",
            "Hours that reconcile compared with their source, and those that differed: rows are deleted, or change "
            "without their change column.",
            series(f"sum(increase(fleetgauge_reconcile_hours_total{{{METRIC}}}[24h]))", "compared"),
            series(f"sum(increase(fleetgauge_reconcile_differed_total{{{METRIC}}}[24h]))", "different", "B"),
            unit="locale",
            span=THIRD,
        )
        .override_by_name("compared", [colour(BLUE)])
        .override_by_name("different", [colour(RED)]),
    ]
