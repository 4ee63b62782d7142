"""What the pipeline's dashboard shows of ingest: Kafka to Elasticsearch, and what was not stored."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.panels import AMBER, BLUE, GREEN, RED, SECONDS, THIRD, colour, lines
from dashboards.prometheus import series

CONSUMER = 'consumer=~"$consumer"'
EVERY = "[$__rate_interval]"


def behind(consumers: str = "") -> str:
    """PromQL of how long ago the oldest event was appended that is not stored; 0 where none waits."""
    matchers = ", ".join(filter(None, [consumers, 'of="append"']))
    none_waits = f"max(fleetgauge_ingest_lag_records{{{consumers}}}) == 0"
    return f"max(fleetgauge_ingest_lag_seconds{{{matchers}}}) or {none_waits}"


def panels() -> list[Builder[Panel]]:
    """Throughput, lag, and what holds it up."""
    return [
        lines(
            "Events per second by class",
            "Events that are final: ok, duplicate (sent again, or read again after a restart), poison, quarantine and "
            "collision (kept as dead letters).",
            series(f"sum by (class) (rate(fleetgauge_ingest_events_total{{{CONSUMER}}}{EVERY}))", "{{class}}"),
            unit="eps",
            stacked=True,
        )
        .override_by_name("ok", [colour(GREEN)])
        .override_by_name("duplicate", [colour(BLUE)])
        .override_by_name("collision", [colour("purple")])
        .override_by_name("poison", [colour(AMBER)])
        .override_by_name("quarantine", [colour(RED)]),
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
            unit=SECONDS,
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
            unit="s",
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
            unit="locale",
            trouble=True,
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
            "Each process, of one core. At 100 % it is at its limit: add processes, up to one for each partition.",
            series(f'rate(process_cpu_seconds_total{{job="consumers"}}{EVERY})', "{{instance}}"),
            unit="percentunit",
            limit=0.95,
            span=THIRD,
        ),
    ]


def dead_letters() -> list[Builder[Panel]]:
    """What became no document, and why."""
    return [
        lines(
            "Dead letters per second by error",
            "Records kept in dead-letter topics by the type of their error. A jump is a bad deploy of a producer or of "
            "a contract; the consumer stops by itself when its limit is reached.",
            series(
                f"sum by (error_type) (rate(fleetgauge_ingest_dead_letters_total{{{CONSUMER}}}{EVERY}))",
                "{{error_type}}",
            ),
            unit="recps",
            stacked=True,
            trouble=True,
            span=THIRD,
        ),
        lines(
            "Stopped, or in quarantine",
            "Partitions in which the limit of dead letters has stopped a consumer, and those where the records of one "
            "value are kept as dead letters while all others go on.",
            series(f"max by (consumer) (fleetgauge_ingest_limit_reached{{{CONSUMER}}})", "{{consumer}}, stopped"),
            series(
                f"sum by (consumer, value) (fleetgauge_ingest_quarantined_partitions{{{CONSUMER}}})",
                "{{consumer}}, {{value}}",
                "B",
            ),
            unit="locale",
            trouble=True,
            span=THIRD,
        ),
        lines(
            "Lost or doubtful since start",
            "Since the start of each process. Collisions: two events under one id, both kept. Missed: deleted by the "
            "topic's retention before they "
            "were read. Sent again: found on the other side of midnight and counted once. All should stay 0.",
            series(f"sum(fleetgauge_ingest_collisions_total{{{CONSUMER}}})", "collisions"),
            series(f"sum(fleetgauge_ingest_missed_records_total{{{CONSUMER}}})", "missed", "B"),
            series(f"sum(fleetgauge_ingest_resent_total{{{CONSUMER}}})", "sent again", "C"),
            unit="locale",
            trouble=True,
            span=THIRD,
        ),
    ]


def _quantiles(buckets: str) -> Sequence[prometheus.Dataquery]:
    summed = f"sum by (le) (rate({buckets}{{{CONSUMER}}}{EVERY}))"
    return [
        series(f"histogram_quantile({share}, {summed})", name, ref)
        for share, name, ref in ((0.5, "median", "A"), (0.95, "p95", "B"), (0.99, "p99", "C"))
    ]
