"""Whose word the times of a topic's records are: the broker's, or any producer's."""

from fleetgauge.kafka import ConfigResource, ConfigResourceType, KafkaAdminClient, KafkaError
from fleetgauge.kafka.kafka_clients import client_options
from fleetgauge.settings import KafkaSettings

_NAME = "message.timestamp.type"


def warning(settings: KafkaSettings, topic: str) -> str | None:
    """What is wrong with it, and the cure; None if nothing is, or the login may not see. Blocks.

    Raises as `client_options` does.
    """
    try:
        admin = KafkaAdminClient(**client_options(settings, 10.0))
        try:
            wanted = [ConfigResource(ConfigResourceType.TOPIC, topic, {_NAME: None})]
            found = admin.describe_configs(wanted, config_filter="all").get("topic", {}).get(topic, {})
        finally:
            admin.close()
    except KafkaError:
        return None
    if _NAME not in found or str(found[_NAME]["value"]) != "CreateTime":
        return None
    return (
        f"topic {topic} has {_NAME}=CreateTime, so producers' clocks say when records came and which days are opened; "
        f"kafka-configs.sh --alter --topic {topic} --add-config {_NAME}=LogAppendTime lets the broker say it"
    )
