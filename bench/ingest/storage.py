"""Bytes on disk for each event after a force-merge, and whether everything of every event can be had back."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.ingest.contenders import Field, consumer_of
from bench.ingest.workload import Elasticsearch, batches
from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.ingest.indices.event_indices import POSITION, SUFFIX, Indices
from fleetgauge.ingest.operate.launch import contracts_of

_NAIVE = {"index.number_of_shards": 1, "index.number_of_replicas": 0}


@dataclass(frozen=True)
class Storage:
    """Bytes per event."""

    ours: float
    naive: float
    """The same documents under a dynamic mapping and default settings."""
    naive_payload: float
    """Only the events as they were produced, the same way: no position in Kafka, no point for a map."""
    retrieved: int
    """Events that came back equal, member by member."""


def measure(field: Field) -> Storage:
    """Blocks for a minute or so. Raises `RuntimeError` if an event comes back changed."""
    server = Elasticsearch(field.settings.elasticsearch.url)
    bulk = ElasticsearchBulk(field.settings.elasticsearch)
    name = "bench-store"
    consumer = consumer_of(field, name)
    Indices(bulk, name, contracts_of(field.settings, consumer)).prepare()
    try:
        for prefix in (name, "bench-naive", "bench-payload"):
            server.delete(prefix)
        for day in field.workload.days:
            server.ask("PUT", f"/{name}-{day}")
            for naive in ("bench-naive", "bench-payload"):
                server.ask("PUT", f"/{naive}-{day}", {"settings": _NAIVE})
        sent: dict[str, bytes] = {}
        for batch in batches(field.settings, consumer):
            body = batch.body(range(batch.documents))
            heads = body.split(b"\n")[:-1:2]
            payloads = [batch.record(i).value or b"" for i in range(batch.documents)]
            sent.update((batch.id_of(i)[1], payload) for i, payload in enumerate(payloads))
            bare = b"".join(b"%b\n%b\n" % pair for pair in zip(heads, payloads, strict=True))
            for text, prefix in ((body, name), (body, "bench-naive"), (bare, "bench-payload")):
                renamed = text.replace(b'"_index":"%b-' % name.encode(), b'"_index":"%b-' % prefix.encode())
                answer = bulk.request("POST", "/_bulk?filter_path=errors", renamed)
                if answer.body != b'{"errors":false}':
                    raise RuntimeError(f"not all events could be stored: {answer.body[:300]!r}")
        ours, dynamic, bare_size = (_size(server, prefix) for prefix in (name, "bench-naive", "bench-payload"))
        return Storage(ours, dynamic, bare_size, _retrieve(server, name, sent))
    finally:
        for prefix in (name, "bench-naive", "bench-payload"):
            server.delete(prefix)
        server.ask("DELETE", f"/_index_template/fleetgauge-{name}")
        bulk.close()


def _size(server: Elasticsearch, prefix: str) -> float:
    server.ask("POST", f"/{prefix}-*/_forcemerge?max_num_segments=1")
    server.ask("POST", f"/{prefix}-*/_flush?force=true")
    stats = server.ask("GET", f"/{prefix}-*/_stats/store,docs")["_all"]["primaries"]
    return float(stats["store"]["size_in_bytes"] / stats["docs"]["count"])


def _retrieve(server: Elasticsearch, name: str, sent: dict[str, bytes]) -> int:
    page = server.ask("POST", f"/{name}-*/_search?scroll=1m", {"size": 10_000, "sort": ["_doc"]})
    seen = 0
    while page["hits"]["hits"]:
        for hit in page["hits"]["hits"]:
            event = {k: v for k, v in hit["_source"].items() if k not in SUFFIX and k != POSITION}
            if event != json.loads(sent[hit["_id"]]):
                raise RuntimeError(f"event {hit['_id']} came back changed")
            seen += 1
        page = server.ask("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    server.ask("DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]})
    if seen != len(sent):
        raise RuntimeError(f"{seen} of {len(sent)} events came back")
    return seen


def write_bodies(field: Field, file: Path) -> int:
    """The bulk bodies that `fleetgauge consume` makes of the topic, each after a line with its length; the events."""
    consumer = consumer_of(field, "bench-bodies")
    count = 0
    with file.open("wb") as target:
        for batch in batches(field.settings, consumer):
            body = batch.body(range(batch.documents)).replace(b'"_index":"bench-bodies-', b'"_index":"PREFIX-')
            target.write(b"%d\n%b" % (len(body), body))
            count += batch.documents
    return count


def lines(storage: Storage) -> Iterable[str]:
    """For people."""
    yield f"storage after force-merge: {storage.ours:.1f} bytes per event"
    yield f"  {storage.ours / storage.naive:.2f} of the same documents under a dynamic mapping ({storage.naive:.1f})"
    yield (
        f"  {storage.ours / storage.naive_payload:.2f} of the bare payloads under a dynamic mapping, "
        f"without position, ingest time and point ({storage.naive_payload:.1f})"
    )
    yield f"  {storage.retrieved} events read back, every member equal"
