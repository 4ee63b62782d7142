"""Pipeline: is what the dashboards show complete, and if not, where does it wait? For on-call engineers."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.frame import filled
from dashboards.monitoring.monitoring_panels import monitoring_dashboard, rows
from dashboards.panels import CLOCK, SECONDS, THIRD, Limits, lines, tile
from dashboards.prometheus import label_variable, series, value

UID = "fleetgauge-pipeline"
CONSUMER = 'consumer=~"$consumer"'
METRIC = 'metric=~"$metric"'
EVERY = "[$__rate_interval]"

SOME = Limits(warn=1, bad=1)
"""Nothing should be there at all."""


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
        ("Ingest: Kafka to Elasticsearch", _ingest()),
        ("What was not stored", _dead_letters()),
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
            "Ingest behind",
            "How long ago the oldest event was appended that is not stored yet: the worst partition. 0 is caught up. "
            "Growing: more consumers, or look at bulk requests below.",
            value(f'max(fleetgauge_ingest_lag_seconds{{{CONSUMER}, of="append"}})'),
            unit=CLOCK,
            decimals=0,
            limits=Limits(warn=60, bad=300),
        ),
        tile(
            "Rollup overdue",
            "How long the next minute could have been final: the worst metric. Runs are late or fail.",
            value(f'max(fleetgauge_rollup_overdue_seconds{{{METRIC}, grain="minute"}})'),
            unit=CLOCK,
            decimals=0,
            limits=Limits(warn=180, bad=600),
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
            "Dead letters, 24 hours",
            "Records that could not be stored and are kept in dead-letter topics. `fleetgauge dlq ls` shows them.",
            value(f"sum(increase(fleetgauge_ingest_dead_letters_total{{{CONSUMER}}}[24h]))"),
            unit="locale",
            decimals=0,
            limits=SOME,
        ),
        tile(
            "Replica behind",
            "How far the source's watermark was behind at the last run: the worst. Runs wait when it is too far.",
            value(f"max(fleetgauge_source_lag_seconds{{{METRIC}}})"),
            unit=CLOCK,
            decimals=0,
            limits=Limits(warn=60, bad=300),
        ),
        tile(
            "Restated, 24 hours",
            "Values that changed though their window was final. `fleetgauge restatements` says which, and why.",
            value(f"sum(fleetgauge_rollup_restatements_last_day{{{METRIC}}})"),
            unit="locale",
            decimals=0,
        ),
    ]


def _ingest() -> list[Builder[Panel]]:
    return [
        lines(
            "Events per second by class",
            "Events that are final: ok, duplicate (sent again, or read again after a restart), poison, quarantine and "
            "collision (kept as dead letters).",
            series(f"sum by (class) (rate(fleetgauge_ingest_events_total{{{CONSUMER}}}{EVERY}))", "{{class}}"),
            unit="cps",
            stacked=True,
        ),
        lines(
            "Lag in seconds",
            "Age of the oldest event that is not stored, by its append to Kafka; and the age of the newest stored "
            "event, by its own time: of devices that were offline it is large though nothing waits.",
            series(
                f'max by (consumer) (fleetgauge_ingest_lag_seconds{{{CONSUMER}, of="append"}})', "{{consumer}}, append"
            ),
            series(
                f'min by (consumer) (fleetgauge_ingest_lag_seconds{{{CONSUMER}, of="event"}})',
                "{{consumer}}, event",
                "B",
            ),
            unit=CLOCK,
            limit=300,
        ),
        lines(
            "Lag in records",
            "Records behind the end of each topic, by what is committed.",
            series(f"sum by (consumer, topic) (fleetgauge_ingest_lag_records{{{CONSUMER}}})", "{{consumer}}"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Bulk requests",
            "Duration of a bulk request to Elasticsearch: median, 95th and 99th percentile of all consumers.",
            *_quantiles("fleetgauge_ingest_bulk_seconds_bucket"),
            unit=SECONDS,
            span=THIRD,
        ),
        lines(
            "Append to acknowledgement",
            "From the append in Kafka to the acknowledgement by Elasticsearch, of the oldest record of each fetch.",
            *_quantiles("fleetgauge_ingest_append_to_ack_seconds_bucket"),
            unit=SECONDS,
            span=THIRD,
        ),
        lines(
            "Held back",
            "Partitions paused since the work in flight is at its cap, and failed tries of the batch that is tried "
            "longest: Elasticsearch is slow or away.",
            series(f"sum by (consumer) (fleetgauge_ingest_paused_partitions{{{CONSUMER}}})", "{{consumer}}, paused"),
            series(f"max by (consumer) (fleetgauge_ingest_retry_depth{{{CONSUMER}}})", "{{consumer}}, tries", "B"),
            unit="none",
            span=THIRD,
        ),
        lines(
            "Memory of consumers",
            "Resident memory of each process. It stays flat during an outage, by design; growth is a defect.",
            series('process_resident_memory_bytes{job="consumers"}', "{{instance}}"),
            unit="bytes",
            span=THIRD,
        ),
        lines(
            "Processor time of consumers",
            "Cores in use by each process. At one it is at its limit: add processes, up to one for each partition.",
            series(f'rate(process_cpu_seconds_total{{job="consumers"}}{EVERY})', "{{instance}}"),
            unit="none",
            limit=0.95,
            span=THIRD,
        ),
    ]


def _dead_letters() -> list[Builder[Panel]]:
    return [
        lines(
            "Dead letters per second by error",
            "Records kept in dead-letter topics by the type of their error. A jump is a bad deploy of a producer or of "
            "a contract; the consumer stops by itself when its limit is reached.",
            series(
                f"sum by (error_type) (rate(fleetgauge_ingest_dead_letters_total{{{CONSUMER}}}{EVERY}))",
                "{{error_type}}",
            ),
            unit="cps",
            stacked=True,
        ),
        lines(
            "Lost or doubtful, since the start of each process",
            "Collisions: two events under one id, both kept. Missed: deleted by the topic's retention before they "
            "were read. Sent again: found on the other side of midnight and counted once. All should stay 0.",
            series(f"sum(fleetgauge_ingest_collisions_total{{{CONSUMER}}})", "collisions"),
            series(f"sum(fleetgauge_ingest_missed_records_total{{{CONSUMER}}})", "missed", "B"),
            series(f"sum(fleetgauge_ingest_resent_total{{{CONSUMER}}})", "sent again", "C"),
            unit="locale",
        ),
    ]


def _rollup() -> list[Builder[Panel]]:
    return [
        lines(
            "Minutes overdue",
            "How long the next minute of each metric could have been final.",
            series(f'fleetgauge_rollup_overdue_seconds{{{METRIC}, grain="minute"}}', "{{metric}}"),
            unit=CLOCK,
            limit=600,
        ),
        lines(
            "Not computed",
            "Minutes up to now that are not computed. It grows when there is no run, or runs do not keep up.",
            series(f"fleetgauge_rollup_pending_minutes{{{METRIC}}}", "{{metric}}"),
            unit="locale",
        ),
        lines(
            "Windows and cells computed per minute",
            "Whole windows by runs and backfills, and cells that were computed anew since a row of theirs had changed.",
            series(f"sum(rate(fleetgauge_rollup_windows_total{{{METRIC}}}{EVERY})) * 60", "windows"),
            series(f"sum(rate(fleetgauge_rollup_cells_total{{{METRIC}}}{EVERY})) * 60", "cells", "B"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Runs that failed or were put off, per hour",
            "A run is put off when its source is too far behind; `fleetgauge runs` and the task's log say why one "
            "failed.",
            series(
                f"sum by (metric) (increase(fleetgauge_rollup_failures_total{{{METRIC}}}[1h]))", "{{metric}}, failed"
            ),
            series(
                f"sum by (metric) (increase(fleetgauge_rollup_deferrals_total{{{METRIC}}}[1h]))",
                "{{metric}}, put off",
                "B",
            ),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Time on the sources",
            "Seconds per second in transactions on the replica and the metrics database.",
            series(f"sum by (metric) (rate(fleetgauge_source_query_seconds_total{{{METRIC}}}{EVERY}))", "{{metric}}"),
            unit="none",
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
            "The same by metric. Metrics without minutes are computed once an hour, and so late.",
            series(f"histogram_quantile(0.99, sum by (metric, le) ({buckets}))", "{{metric}}"),
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
        ),
        rows(
            "Dimensions by how full they are",
            "Distinct values in percent of the limit. At 100 % further values are counted together: raise `limit`, or "
            "expire values with `fleetgauge dimensions`.",
            f"sort_desc(fleetgauge_dimension_values{{{METRIC}}} / fleetgauge_dimension_limit)",
            [("metric", "Metric"), ("dimension", "Dimension")],
            unit="percentunit",
        ),
        lines(
            "Rows left out",
            "Rows of the source that are in no number, by reason. The metric's dashboard counts them by range.",
            series(f"sum by (metric, reason) (fleetgauge_rollup_left_out_rows{{{METRIC}}})", "{{metric}}, {{reason}}"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Blocked cells",
            "Cells that keep their old rows, since the new ones broke a check.",
            series(f"fleetgauge_rollup_blocked_cells{{{METRIC}}}", "{{metric}}"),
            unit="locale",
            limit=1,
            span=THIRD,
        ),
        lines(
            "Too late to be counted",
            "Cells whose rows changed after their source or their own rows had expired: they stay as they are.",
            series(f"fleetgauge_rollup_late_unapplied_total{{{METRIC}}}", "{{metric}}"),
            unit="locale",
            span=THIRD,
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
        ),
        lines(
            "Command events left out",
            "Documents that are no command event, events that came after their month was dropped, and ids that a "
            "device uses for two events.",
            series("max(fleetgauge_commands_unusable_total)", "unusable"),
            series("max(fleetgauge_commands_expired_total)", "expired", "B"),
            series("max(fleetgauge_commands_reused_ids_total)", "ids used twice", "C"),
            unit="locale",
        ),
    ]


def _sources() -> list[Builder[Panel]]:
    return [
        lines(
            "Replica behind, by metric",
            "How far the source's watermark was behind at the last run of each metric.",
            series(f"fleetgauge_source_lag_seconds{{{METRIC}}}", "{{metric}}"),
            unit=CLOCK,
            limit=300,
            span=THIRD,
        ),
        lines(
            "Clocks apart",
            "How far the clocks of worker, metrics database and replica were apart at the last run. Over 10: see NTP.",
            series(f"fleetgauge_clock_skew_seconds{{{METRIC}}}", "{{metric}}"),
            unit=CLOCK,
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
        ),
    ]


def _quantiles(buckets: str) -> Sequence[prometheus.Dataquery]:
    summed = f"sum by (le) (rate({buckets}{{{CONSUMER}}}{EVERY}))"
    return [
        series(f"histogram_quantile({share}, {summed})", name, ref)
        for share, name, ref in ((0.5, "median", "A"), (0.95, "p95", "B"), (0.99, "p99", "C"))
    ]
