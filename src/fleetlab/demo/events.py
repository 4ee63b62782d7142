"""What became of every event: document ids in Elasticsearch and positions of dead letters, as sets."""

from collections.abc import Iterator

from elasticsearch import Elasticsearch
from kafka import KafkaConsumer, TopicPartition

from fleetgauge.errors import Transient

_PAGE = 10_000


def stored_ids(url: str, alias: str) -> set[str]:
    """The `_id` of every document behind an alias; blocks for about a second per 60,000 of them."""
    with Elasticsearch(url, request_timeout=60) as client:
        client.indices.refresh(index=alias)
        found: set[str] = set()
        for ids in _pages(client, alias):
            if not found.isdisjoint(ids) or len(set(ids)) != len(ids):
                # An id is unique within one index only; the same one in two daily indices is a second copy.
                raise Transient(f"{alias} holds an event twice, in two of its indices")
            found.update(ids)
        return found


def _pages(client: Elasticsearch, alias: str) -> Iterator[list[str]]:
    pit = client.open_point_in_time(index=alias, keep_alive="2m")["id"]
    after = None
    try:
        while True:
            answer = client.search(
                pit={"id": pit, "keep_alive": "2m"},
                size=_PAGE,
                source=False,
                stored_fields=[],
                sort=["_shard_doc"],
                search_after=after,
                track_total_hits=False,
                filter_path=["hits.hits._id", "hits.hits.sort"],
            )
            hits = answer.get("hits", {}).get("hits", [])
            if not hits:
                return
            yield [hit["_id"] for hit in hits]
            after = hits[-1]["sort"]
    finally:
        client.close_point_in_time(id=pit)


def dead_letters(bootstrap: str, topic: str, timeout_s: float = 30) -> set[tuple[str, int, int]]:
    """`(topic, partition, offset)` of each dead letter's original. Raises `Transient` if Kafka is slow."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=int(timeout_s * 1000),
    )
    try:
        name = f"{topic}.dlq"
        partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name) or ())]
        ends = {partition: end for partition, end in consumer.end_offsets(partitions).items() if end}
        consumer.assign(list(ends))
        consumer.seek_to_beginning()
        dead_letters: set[tuple[str, int, int]] = set()
        while ends:
            polled = consumer.poll(timeout_ms=int(timeout_s * 1000))
            if not polled:
                raise Transient(f"{name} could not be read to its end within {timeout_s:.0f} s; is Kafka busy?")
            for partition, records in polled.items():
                for record in records:
                    original, number, offset = record.key.decode().rsplit("-", 2)
                    dead_letters.add((original, int(number), int(offset)))
                if records[-1].offset + 1 >= ends.get(partition, 0):
                    ends.pop(partition, None)
        return dead_letters
    finally:
        consumer.close()
