"""What ingest exports to Prometheus. `CATALOGUE` is the one list; the documentation is made from it."""

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LATENCY = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
_BYTES = tuple(float(4**exponent) for exponent in range(5, 13))


@dataclass(frozen=True)
class ExportedMetric:
    """One metric: what it means and what to do about it."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


EVENTS = ExportedMetric(
    "counter",
    "fleetgauge_ingest_events_total",
    "Events that are final, by class: ok, duplicate, poison, quarantine, collision. Many duplicates mean a replay or a "
    "restart.",
    ("class",),
)
DEAD_LETTERS = ExportedMetric(
    "counter",
    "fleetgauge_ingest_dead_letters_total",
    "Dead letters by error type. Any: look at the dead-letter topic.",
    ("error_type",),
)
QUARANTINED = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_quarantined_partitions",
    "Partitions in which this value of what dead_letters goes by is over the limit by itself: its broken records are "
    "dead-lettered as class quarantine. Any: mend its producer or the contract, then fleetgauge dlq accept or replay.",
    ("value",),
)
TEMPLATE_NEWER = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_index_template_newer",
    "Fields that the installed index template has and this consumer does not know, as of its start: it is of an older "
    "version. Must be 0: deploy the newer one here too.",
)
RESENT = ExportedMetric(
    "counter",
    "fleetgauge_ingest_resent_total",
    "Events sent again with a new time on the other side of UTC midnight, found and counted as duplicates. Many: let "
    "devices keep an event's time when they send it again.",
)
NEIGHBOURS_UNREAD = ExportedMetric(
    "counter",
    "fleetgauge_ingest_neighbours_unread_total",
    "Look-ups of events near UTC midnight in the neighbouring day that Elasticsearch refused, so that an event sent "
    "again may count twice. Must stay 0: the log says why.",
)
COLLISIONS = ExportedMetric(
    "counter",
    "fleetgauge_ingest_collisions_total",
    "Events under whose id another document is stored, kept as dead letters of class collision. Any: a device numbers "
    "its events anew; mend it, then fleetgauge dlq replay --class collision --new-id.",
)
MISSED = ExportedMetric(
    "counter",
    "fleetgauge_ingest_missed_records_total",
    "Records that the topic's retention deleted before they were read. Must stay 0: lengthen it, or consume faster.",
)
BULK_SECONDS = ExportedMetric(
    "histogram", "fleetgauge_ingest_bulk_seconds", "Duration of one bulk request.", buckets=_SECONDS
)
BATCH_BYTES = ExportedMetric("histogram", "fleetgauge_ingest_batch_bytes", "Size of one bulk body.", buckets=_BYTES)
RETRIES = ExportedMetric(
    "counter",
    "fleetgauge_ingest_retries_total",
    "Attempts after which something had to be sent again, by the type of the first error.",
    ("error_type",),
)
RETRY_DEPTH = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_retry_depth",
    "Failed attempts of the batch that is tried longest; 0 when nothing is being retried.",
)
IN_FLIGHT_BYTES = ExportedMetric(
    "gauge", "fleetgauge_ingest_in_flight_bytes", "Bytes being written or waiting to be written again."
)
LAG_RECORDS = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_lag_records",
    "Records behind the end of the partition, by what is committed.",
    ("topic", "partition"),
)
LAG_SECONDS = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_lag_seconds",
    "Now minus the append time, or the event time, of the newest finished record; append is 0 when caught up.",
    ("topic", "partition", "of"),
)
APPEND_TO_ACK = ExportedMetric(
    "histogram",
    "fleetgauge_ingest_append_to_ack_seconds",
    "From the append in Kafka to the acknowledgement by Elasticsearch, of the oldest record of each fetch.",
    buckets=_LATENCY,
)
ASSIGNED = ExportedMetric("gauge", "fleetgauge_ingest_assigned_partitions", "Partitions that this process reads.")
KAFKA_SILENT = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_kafka_silent_seconds",
    "For how long Kafka has not told where partitions of this process end; 0 while it answers. Meanwhile lag stays as"
    " it was. Long: brokers are away, frozen, or cannot be reached.",
)
PAUSED = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_paused_partitions",
    "Partitions held back because the work in flight is at its cap: Elasticsearch is slow or away.",
)
REBALANCES = ExportedMetric("counter", "fleetgauge_ingest_rebalances_total", "Times that partitions were taken away.")
COMMITS = ExportedMetric(
    "counter",
    "fleetgauge_ingest_commits_total",
    "Offset commits by result: ok, or refused (normal after a rebalance; the work comes again).",
    ("result",),
)
BUILD = ExportedMetric(
    "gauge",
    "fleetgauge_ingest_build_info",
    "Always 1; the labels say which version and which contracts run.",
    ("version", "contracts"),
)
CLASSES = ("ok", "duplicate", "poison", "quarantine", "collision")
"""What a final event is."""
CATALOGUE = (
    EVENTS,
    DEAD_LETTERS,
    QUARANTINED,
    TEMPLATE_NEWER,
    COLLISIONS,
    RESENT,
    NEIGHBOURS_UNREAD,
    MISSED,
    BULK_SECONDS,
    BATCH_BYTES,
    RETRIES,
    RETRY_DEPTH,
    IN_FLIGHT_BYTES,
    LAG_RECORDS,
    LAG_SECONDS,
    APPEND_TO_ACK,
    ASSIGNED,
    KAFKA_SILENT,
    PAUSED,
    REBALANCES,
    COMMITS,
    BUILD,
)


class Families:
    """The metrics of one process, over all its consumers, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.by_name: dict[str, Any] = {}
        for definition in CATALOGUE:
            labels = ("consumer", *definition.labels)
            match definition.kind:
                case "counter":
                    metric: Any = Counter(definition.name, definition.meaning, labels, registry=self.registry)
                case "gauge":
                    metric = Gauge(definition.name, definition.meaning, labels, registry=self.registry)
                case "histogram":
                    metric = Histogram(
                        definition.name, definition.meaning, labels, buckets=definition.buckets, registry=self.registry
                    )
            self.by_name[definition.name] = metric


class Metrics:
    """The metrics of one consumer. Thread-safe; updated once a batch, not once an event."""

    def __init__(self, consumer: str, families: Families | None = None) -> None:
        """`families`: those of the process; None makes some of its own."""
        self._consumer = consumer
        self._families = families or Families()
        # From the beginning, as `increase` takes the first sample of a series for what was there before.
        for definition in CATALOGUE:
            if definition.kind == "counter" and not definition.labels:
                self.of(definition)
        for name in CLASSES:
            self.of(EVENTS, name)

    @property
    def registry(self) -> CollectorRegistry:
        """The registry that holds them."""
        return self._families.registry

    def of(self, definition: ExportedMetric, *labels: str | int) -> Any:
        """The child of a metric for these label values."""
        return self._families.by_name[definition.name].labels(self._consumer, *labels)

    def drop(self, definition: ExportedMetric, *labels: str | int) -> None:
        """Forget a child if there is one, for example of a partition that is read elsewhere now."""
        with contextlib.suppress(KeyError):
            self._families.by_name[definition.name].remove(self._consumer, *map(str, labels))
