"""Whether the dead-letter topic can keep what must go there, by the settings of both topics in Kafka."""

from collections.abc import Mapping

import structlog

from fleetgauge.ingest.consumer import Consumer
from fleetgauge.kafka import ConfigResource, ConfigResourceType, KafkaAdminClient, KafkaError
from fleetgauge.kafka.kafka_clients import whole_number

ROOM = 64 * 1024
"""Bytes that the headers of a dead letter may add to its record."""
_NAMES = ("max.message.bytes", "cleanup.policy", "retention.ms")
_DAY_MS = 86_400_000


def read(admin: KafkaAdminClient, consumer: Consumer) -> list[str]:
    """`problems` of a consumer's topics as they are; none where the login may not see their settings, which is logged.

    Blocks. Raises `KafkaError`.
    """
    topics = (consumer.topic, consumer.dead_letter_topic)
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(_NAMES)) for name in topics]
    try:
        found = admin.describe_configs(wanted, config_filter="all").get("topic", {})
    except KafkaError as error:
        if error.retriable:
            raise
        found = {}
    settings = [{key: str(at["value"]) for key, at in found.get(name, {}).items()} for name in topics]
    if not all(known(one) for one in settings):
        structlog.get_logger("fleetgauge.ingest").info(
            "the settings of topic and dead-letter topic are not compared: the login may not DESCRIBE_CONFIGS both, or "
            "the broker does not tell them",
            consumer=consumer.name,
        )
        return []
    return problems(consumer, *settings)


def known(said: Mapping[str, str]) -> bool:
    """Whether a topic's settings are all there: some servers that speak Kafka's protocol leave some out."""
    numbers = (whole_number(said.get(name)) for name in ("max.message.bytes", "retention.ms"))
    return None not in numbers and "cleanup.policy" in said


def problems(consumer: Consumer, source: Mapping[str, str], dead_letters: Mapping[str, str]) -> list[str]:
    """One sentence for each setting by which dead letters could be refused or lost."""
    topic, found = consumer.dead_letter_topic, []
    largest, needed = int(dead_letters["max.message.bytes"]), int(source["max.message.bytes"]) + ROOM
    if largest < needed:
        found.append(
            f"{topic} takes records of {largest} bytes, but what {consumer.topic} takes needs {needed} with the "
            f"headers of a dead letter; raise its max.message.bytes (kafka-configs.sh --alter --topic {topic} "
            f"--add-config max.message.bytes={max(needed, 32 * 1024 * 1024)})"
        )
    if "compact" in dead_letters["cleanup.policy"]:
        found.append(f"{topic} is compacted, so a replay's mark deletes its dead letter; set cleanup.policy=delete")
    if 0 <= int(dead_letters["retention.ms"]) < _DAY_MS:
        found.append(f"{topic} keeps dead letters for less than a day; raise its retention.ms (30 days: 2592000000)")
    return found
