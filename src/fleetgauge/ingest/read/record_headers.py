"""Names of the Kafka headers that dead letters and replayed records carry, and what a replayed record says by them."""

import re
from collections.abc import Iterable

OWN = "fleetgauge."
"""How the names of our headers begin; all others are the record's own."""
ORIGINAL_TIMESTAMP = "fleetgauge.timestamp"
"""The Kafka timestamp of the first try, which the accepted time range is measured against."""
ORIGIN = "fleetgauge.origin"
"""Of a replayed record: `topic-partition-offset` of its first try."""
NEW_ID = "fleetgauge.new_id"
"""Of a replayed record: it is stored under an id of its own, since another event has the one that it names."""
TRIES = "fleetgauge.tries"
"""How often the record has been dead-lettered, this time included."""
TOPIC = "fleetgauge.topic"
PARTITION = "fleetgauge.partition"
OFFSET = "fleetgauge.offset"
DIGEST = "fleetgauge.digest"
"""Of a replay's mark: which payload it speaks of."""
CLASS = "fleetgauge.class"
ERROR_TYPE = "fleetgauge.error_type"
REASON = "fleetgauge.reason"
CONTRACTS = "fleetgauge.contracts"
KEY = "fleetgauge.key"

Headers = Iterable[tuple[str, bytes | None]]


def original_timestamp(headers: Headers, appended: int) -> int:
    """The first try's timestamp if the record was replayed, else `appended`; milliseconds since the epoch."""
    return _number(headers, ORIGINAL_TIMESTAMP, appended)


def tries(headers: Headers) -> int:
    """How often a replayed record has been dead-lettered before; 0 for a record that is no replay."""
    return _number(headers, TRIES, 0)


def first_try(topic: str, headers: Headers) -> tuple[int, int] | None:
    """Partition and offset in `topic` where a replayed record was first; None for a record that is no replay."""
    for name, value in headers:
        if name == ORIGIN and value is not None:
            found = re.fullmatch(rb"%s-(\d{1,9})-(\d{1,18})" % re.escape(topic.encode()), value)
            return (int(found[1]), int(found[2])) if found else None
    return None


def wants_new_id(headers: Headers) -> bool:
    """Whether a replayed record is to be stored under an id of its own."""
    return any(name == NEW_ID for name, _ in headers)


def _number(headers: Headers, name: str, default: int) -> int:
    for key, value in headers:
        if key == name and value is not None and value.isdigit() and len(value) < 16:
            return int(value)
    return default
