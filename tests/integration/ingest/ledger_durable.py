"""What is durable: the documents in Elasticsearch and the dead letters, read while everything else goes on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from ledger_stream import PARTITIONS, Stream

_PAGE = 10_000


@dataclass
class Durable:
    """Compares committed offsets with what can be found; remembers what it has found."""

    world: Any
    stream: Stream
    ids: set[str] = field(default_factory=set)
    dead_letters: dict[tuple[int, int], str] = field(default_factory=dict)
    """(partition, offset) → error type."""
    compared: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    """By partition: below this offset everything was found."""
    _dead_letters_read: int = 0

    def compare(self, committed: Mapping[int, int]) -> int:
        """Fails unless every record below `committed` is durable *now*; returns how many were looked at anew."""
        self.read_dead_letters()
        self.world.ask("POST", f"/{self.world.consumer.index}-*/_refresh?ignore_unavailable=true")
        looked = 0
        for partition, end in committed.items():
            begin = self.compared[partition]
            self.ids.update(self._documents(partition, begin, end))
            required = self.stream.required(partition, begin, end)
            missing = required - self.ids
            missing -= self.find(missing)  # duplicates: the document may be of another offset
            lost = sorted(missing)[:5]
            assert not missing, f"partition {partition}: {len(missing)} of {begin}…{end} committed, not stored: {lost}"
            dead_lettered = {offset for at, offset in self.dead_letters if at == partition}
            broken = {offset for at, offset in self.stream.broken if at == partition and offset < end}
            assert broken <= dead_lettered, (
                f"partition {partition}: committed, not dead-lettered: {sorted(broken - dead_lettered)[:5]}"
            )
            looked += max(0, end - begin)
            self.compared[partition] = max(begin, end)
        return looked

    def forget(self, ids: set[str]) -> None:
        """An operator has deleted them."""
        self.ids -= ids

    def all_documents(self) -> list[str]:
        """The id of the record behind every document, as often as it is there, in all indices."""
        self.world.ask("POST", f"/{self.world.consumer.index}-*/_refresh")
        found = [one for p in range(PARTITIONS) for one in self._documents(p, 0, len(self.stream.ids[p]))]
        # A document without a position, or a second one at the same position, is not among them.
        assert self.count() == len(found)
        return found

    def count(self) -> int:
        """Documents in all indices."""
        return int(self.world.ask("GET", f"/{self.world.consumer.index}-*/_count")["count"])

    def read_dead_letters(self) -> None:
        """Take over the dead letters that are new."""
        reader = KafkaConsumer(
            bootstrap_servers=self.world.settings.kafka.bootstrap_servers,
            auto_offset_reset="earliest",
            metrics_enabled=False,
        )
        try:
            tp = TopicPartition(self.world.consumer.dead_letter_topic, 0)
            reader.assign([tp])
            end = reader.end_offsets([tp])[tp]
            reader.seek(tp, self._dead_letters_read)
            while self._dead_letters_read < end:
                for records in reader.poll(timeout_ms=1000).values():
                    for record in records:
                        headers = dict(record.headers)
                        where = int(headers["fleetgauge.partition"]), int(headers["fleetgauge.offset"])
                        self.dead_letters[where] = headers["fleetgauge.error_type"].decode()
                        assert record.key.decode() == f"{self.stream.topic}-{where[0]}-{where[1]}"
                    self._dead_letters_read = records[-1].offset + 1
        finally:
            reader.close()

    def _documents(self, partition: int, begin: int, end: int) -> Iterator[str]:
        """The id of the record that each document says it was made of."""
        after = begin - 1
        while True:
            offsets = {"range": {"kafka.offset": {"gt": after, "lt": end}}}
            query = {
                "size": _PAGE,
                # Only columns: to read `_id` of each document would decompress all that is stored, block by block.
                "stored_fields": "_none_",
                "track_total_hits": False,
                "query": {"bool": {"filter": [{"term": {"kafka.partition": partition}}, offsets]}},
                "sort": ["kafka.offset"],
            }
            path = f"/{self.world.consumer.index}-*/_search?filter_path=hits.hits.sort"
            hits = self.world.ask("POST", path, query).get("hits", {}).get("hits", [])
            yield from (self.stream.ids[partition][hit["sort"][0]] for hit in hits)
            if len(hits) < _PAGE:
                return
            after = hits[-1]["sort"][0]

    def find(self, ids: set[str]) -> set[str]:
        """Those of some ids under which a document is stored."""
        if not ids:
            return set()
        query = {"size": _PAGE, "_source": False, "query": {"ids": {"values": sorted(ids)[:_PAGE]}}}
        path = f"/{self.world.consumer.index}-*/_search?filter_path=hits.hits._id"
        found = {hit["_id"] for hit in self.world.ask("POST", path, query).get("hits", {}).get("hits", [])}
        self.ids |= found
        return found
