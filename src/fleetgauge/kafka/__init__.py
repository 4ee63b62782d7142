"""Kafka: how we connect, what each of its errors means, and its records as we read them.

No other module imports a client of Kafka. What others need of its vocabulary (types, requests of an administrator, the
classes of single errors) stands here; what no documentation of a client promises stands in `internals`.
"""

from kafka import (
    AsyncConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic, OffsetSpec
from kafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    NoError,
    RetriableError,
    TopicAlreadyExistsError,
    for_code,
)

from fleetgauge.kafka.internals import Future, IsolationLevel

__all__ = [
    "AsyncConsumerRebalanceListener",
    "ConfigResource",
    "ConfigResourceType",
    "Future",
    "IsolationLevel",
    "KafkaAdminClient",
    "KafkaConsumer",
    "KafkaError",
    "MessageSizeTooLargeError",
    "NewTopic",
    "NoError",
    "OffsetAndMetadata",
    "OffsetSpec",
    "RetriableError",
    "TopicAlreadyExistsError",
    "TopicPartition",
    "for_code",
]
