"""Who has been erased, as consumers read it: an index of keyed digests that `fleetgauge erase` writes.

It lies in Elasticsearch, since a consumer knows no other store. A consumer whose contracts name persons reads it at its
start and every two seconds; who erases waits until everybody has.
"""

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from fleetgauge.elasticsearch.admin_requests import ask
from fleetgauge.elasticsearch.transport import Bulk
from fleetgauge.errors import FleetgaugeError, Transient
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.privacy.erased import Erased

INDEX = "fleetgauge-erased"
EVERY_S = 2.0
"""How often it is read."""
SETTLED_S = 6.0
"""After so long all consumers that reach Elasticsearch know a new entry, and what they had begun before is stored."""
_PAGE = 5_000
_MAPPING = {
    "settings": {"index.number_of_shards": 1, "index.auto_expand_replicas": "0-1"},
    "mappings": {
        "dynamic": False,
        "properties": {"digest": {"type": "keyword"}, "key": {"type": "keyword"}, "subject": {"type": "keyword"}},
    },
}


class _Page(msgspec.Struct):
    class Hits(msgspec.Struct):
        hits: list[dict[str, Any]]

    hits: Hits | None = None


def read(bulk: Bulk, key: DistinctKey) -> Erased:
    """Everybody on the list whose digest is of this key; blocks. Raises `Transient`, `Stop`, `Terminal`."""
    found: set[str] = set()
    after: list[str] = []
    while True:
        query: dict[str, Any] = {
            "size": _PAGE,
            "sort": ["digest"],
            "_source": ["digest"],
            "query": {"term": {"key": key.id}},
            **({"search_after": after} if after else {}),
        }
        right = f"give the login the right read on {INDEX}, so that nothing of an erased person is stored again"
        answer = ask(bulk, "POST", f"/{INDEX}/_search", query, right, fine=("index_not_found_exception",), shape=_Page)
        hits = answer.hits.hits if isinstance(answer, _Page) and answer.hits is not None else []
        found |= {str(hit["_source"]["digest"]) for hit in hits}
        if len(hits) < _PAGE:
            return Erased(key, frozenset(found))
        after = hits[-1]["sort"]


def add(bulk: Bulk, key: DistinctKey, digest: str, subject: str) -> None:
    """Put somebody on the list, who may be there already; blocks. Raises `Transient`, `Stop`, `Terminal`."""
    right = f"give the login the rights create_index and index on {INDEX}"
    ask(bulk, "PUT", f"/{INDEX}", _MAPPING, right, fine=("resource_already_exists_exception",))
    entry = {"digest": digest, "key": key.id, "subject": subject}
    lines = [{"index": {"_index": INDEX, "_id": f"{key.id}-{digest}"}}, entry]
    answer = bulk.request("POST", "/_bulk?refresh=true", b"".join(msgspec.json.encode(one) + b"\n" for one in lines))
    if answer.status != 200 or msgspec.json.decode(answer.body, type=dict[str, Any]).get("errors"):
        raise Transient(f"the list {INDEX} takes no entry; {right}, or look into Elasticsearch's log, and erase again")


class ErasedList:
    """Keeps the list of one consumer fresh, in a thread of its own. Close it after use."""

    def __init__(self, bulk: Bulk, key: DistinctKey, every_s: float = EVERY_S) -> None:
        """Reads it for the first time; blocks. Raises what `read` does."""
        self._read: Callable[[], Erased] = lambda: read(bulk, key)
        self._every_s = every_s
        self._erased = self._read()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="erased-list", daemon=True)
        self._thread.start()

    def __call__(self) -> Erased:
        """As of a moment ago; never blocks."""
        return self._erased

    def close(self) -> None:
        """End the thread, which may take a request's time-out; not waited for."""
        self._closed.set()

    def _keep(self) -> None:
        log = structlog.get_logger("fleetgauge.ingest")
        while not self._closed.wait(self._every_s):
            try:
                self._erased = self._read()
            except FleetgaugeError as error:  # a server that is away stores nothing either
                log.warning("who has been erased cannot be read", because=str(error))
