"""Kafka as ingest reads it: the client, and where a topic ends."""

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from fleetgauge.clock import Clock
from fleetgauge.errors import Transient
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.kafka import KafkaConsumer, TopicPartition
from fleetgauge.kafka.kafka_clients import client_options, translated
from fleetgauge.kafka.records import in_columns
from fleetgauge.progress.offsets import read_progress
from fleetgauge.settings import KafkaSettings


def connect(settings: KafkaSettings, consumer: Consumer) -> KafkaConsumer:
    """A Kafka consumer that neither commits nor subscribes by itself.

    Raises `Transient` if no broker answers, `Stop` if it refuses the login.
    """
    with translated(settings, f"{consumer.group} cannot connect", "READ its topic and group"):
        kafka = KafkaConsumer(
            **client_options(settings, client_id=consumer.group),
            group_id=consumer.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            isolation_level="read_committed",  # what a producer took back is no event
            max_poll_records=1,  # one chunk of `Records`
            fetch_max_bytes=16 * 1024 * 1024,
            session_timeout_ms=10_000,  # how long a killed process keeps its partitions
            heartbeat_interval_ms=3_000,
            metrics_enabled=False,
        )
        in_columns(kafka)
        return kafka


# The very first group of a cluster has no coordinator for some seconds.
@retry(retry=retry_if_exception_type(Transient), stop=stop_after_delay(30.0), wait=wait_fixed(0.5), reraise=True)
def goal_of(settings: KafkaSettings, consumer: Consumer, clock: Clock) -> dict[TopicPartition, int]:
    """The end of each partition that holds records; blocks. Raises `Terminal` or `Transient`."""
    progress = read_progress(settings, consumer.topic, consumer.group, clock)
    return {TopicPartition(consumer.topic, p.partition): p.end for p in progress.partitions if p.end > p.begin}
