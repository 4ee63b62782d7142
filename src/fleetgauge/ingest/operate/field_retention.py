"""Fields that go before their document does: exact positions after 30 days, say; part of `fleetgauge retention`.

Contracts say which (`kept_days`). Each night one more day is old enough: its documents are written anew without the
field; where that is `location`, the map point made of it becomes the middle of its map tile, so that a metric by tile
can be computed anew. Elasticsearch keeps what they were for some hours before a merge may drop it; one is asked for at
once. A day is marked with how far its writes have come then, so that it is not read again, unless something is stored
there later, as by a replay.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from fleetgauge.clock import Clock, SystemClock
from fleetgauge.elasticsearch.admin_requests import ask
from fleetgauge.elasticsearch.transport import Bulk, ElasticsearchBulk
from fleetgauge.errors import FleetgaugeError, Terminal, Transient
from fleetgauge.ingest.check.lint_consumers import named_or_all
from fleetgauge.ingest.indices.event_indices import COARSE_TILE, POSITION
from fleetgauge.ingest.operate.index_retention import Day, days
from fleetgauge.ingest.operate.launch import contracts_of
from fleetgauge.settings import Settings

MARK = "fleetgauge_expired_fields"
"""In `_meta` of a day's mapping: which fields are gone, and how far its writes had come then."""
_DAY = timedelta(days=1)
_EXPUNGE = "index.merge.policy.expunge_deletes_allowed"
_POLL_S = 1.0
PAGE = 2_000
"""Documents of one request."""


class FoundDocument(
    msgspec.Struct,
    rename={"index": "_index", "id": "_id", "seq_no": "_seq_no", "term": "_primary_term", "source": "_source"},
):
    """A document of a search, byte by byte as it was stored, and what tells whether it has changed since."""

    index: str
    id: str
    seq_no: int
    term: int
    source: msgspec.Raw
    sort: list[Any]


class _DocumentsFound(msgspec.Struct):
    hits: list[FoundDocument]


class DocumentPage(msgspec.Struct):
    """The answer to a search that asks for `seq_no_primary_term` and an order."""

    hits: _DocumentsFound
    pit_id: str = ""


@dataclass(frozen=True)
class ExpiredFields:
    """Fields that are gone from one day, or with a dry run would go."""

    index: str
    fields: tuple[str, ...]
    documents: int
    """Those that had one; with a dry run, all of the day's."""


@dataclass(frozen=True)
class FieldOutcome:
    """What became of one consumer's fields."""

    consumer: str
    days: tuple[ExpiredFields, ...] = ()
    error: FleetgaugeError | None = None


def run(
    settings: Settings,
    names: Collection[str] = (),
    *,
    dry_run: bool = False,
    clock: Clock | None = None,
    bulk: Bulk | None = None,
) -> list[FieldOutcome]:
    """Take out what is too old, of the named consumers, or of all whose contracts say how long; blocks.

    What goes wrong with one consumer is in its outcome and does not stop the others; of files that cannot be read
    `index_retention.run` tells. Raises `Terminal` for a name that is not declared. Safe to repeat and to interrupt.
    """
    now, outcomes = (clock or SystemClock()).now(), []
    own = None if bulk is not None else ElasticsearchBulk(settings.elasticsearch, connections=1)
    try:
        for consumer in named_or_all(settings.content, names)[0]:
            try:
                fields = contracts_of(settings, consumer).short_lived
                gone = expire(bulk or own, consumer.index, fields, now, dry_run=dry_run)  # type: ignore[arg-type]
                outcomes += [FieldOutcome(consumer.name, tuple(gone))] if fields else []
            except FleetgaugeError as error:
                outcomes.append(FieldOutcome(consumer.name, error=error))
    finally:
        if own is not None:
            own.close()
    return outcomes


def overdue(bulk: Bulk, prefix: str, fields: Mapping[str, timedelta], now: datetime) -> list[tuple[Day, Sequence[str]]]:
    """Days with the fields that should be gone and are not, oldest first; blocks.

    Raises `Transient`, `Stop`, `Terminal`.
    """
    found: list[tuple[Day, Sequence[str]]] = []
    for day in days(bulk, prefix) if fields else ():
        due = sorted(path for path, kept in fields.items() if day.begin + _DAY <= now - kept)
        if due and day.documents and _mark(due, _written(bulk, day.index)) != _meta(bulk, day.index).get(MARK):
            found.append((day, due))
    return found


def expire(
    bulk: Bulk,
    prefix: str,
    fields: Mapping[str, timedelta],
    now: datetime,
    *,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> list[ExpiredFields]:
    """Take the fields out of all days that are old enough; blocks. Safe to repeat and to interrupt.

    Raises `Transient`, `Stop`, `Terminal`.
    """
    return [
        ExpiredFields(day.index, tuple(due), day.documents if dry_run else _take_out(bulk, day.index, due, sleep))
        for day, due in overdue(bulk, prefix, fields, now)
    ]


def _mark(fields: Sequence[str], written: int) -> dict[str, Any]:
    return {"fields": list(fields), "written": written}


def without(source: bytes | msgspec.Raw, fields: Sequence[str]) -> bytes | None:
    """A document without these fields, everything else byte by byte as it is; None if it has none of them."""
    members = msgspec.json.decode(source, type=dict[str, msgspec.Raw])
    changed = False
    for field in fields:
        if field in members:  # one name, whatever dots are in it
            del members[field]
            changed = True
            continue
        head, _, rest = field.partition(".")
        inner = bytes(members.get(head, b"")) if rest else b""
        if inner.lstrip().startswith(b"{") and (left := without(inner, [rest])) is not None:
            members[head] = msgspec.Raw(left)
            changed = True
    return msgspec.json.encode(members) if changed else None


def coarse(source: bytes) -> bytes:
    """A document whose map point lies in the middle of its tile, everything else byte by byte as it is."""
    members = msgspec.json.decode(source, type=dict[str, msgspec.Raw])
    if POSITION in members:
        longitude, latitude = msgspec.json.decode(members[POSITION], type=tuple[float, float])
        middle = "[%.6f,%.6f]" % middle_of_tile(longitude, latitude)  # noqa: UP031 (as it was written at first)
        members[POSITION] = msgspec.Raw(middle.encode())
    return msgspec.json.encode(members)


def middle_of_tile(longitude: float, latitude: float, zoom: int = COARSE_TILE) -> tuple[float, float]:
    """Longitude and latitude, in degrees, of the middle of the Web Mercator tile that the point lies in.

    Tiles are counted as Elasticsearch's `geotile_grid` does: what lies beyond the map belongs to its last row.
    """
    tiles = 1 << zoom
    sine = math.sin(math.radians(max(-85.0511287798066, min(85.0511287798066, latitude))))
    across = math.floor((longitude + 180) / 360 * tiles)
    down = math.floor((0.5 - math.log((1 + sine) / (1 - sine)) / (4 * math.pi)) * tiles)
    x, y = (max(0, min(tiles - 1, number)) + 0.5 for number in (across, down))
    return x / tiles * 360 - 180, math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / tiles))))


def _take_out(bulk: Bulk, index: str, fields: Sequence[str], sleep: Callable[[float], None]) -> int:
    name = quote(index)
    _ask(bulk, "POST", f"/{name}/_refresh")
    mapped = any(path.split(".")[0] == "location" for path in fields)
    written, updated = _written(bulk, index), 0
    for page in _pages(bulk, name):
        lines = []
        for hit in page:
            if (left := without(hit.source, fields)) is not None:
                left = coarse(left) if mapped else left
                action = {"_id": hit.id, "if_seq_no": hit.seq_no, "if_primary_term": hit.term}
                lines += [msgspec.json.encode({"index": action}), left]
        updated += _write(bulk, name, lines) if lines else 0
    if updated:
        _ask(bulk, "POST", f"/{name}/_refresh")
        expunge(bulk, index, sleep)
    # Whatever else was written meanwhile makes the number another, and so the day comes again.
    meta = {**_meta(bulk, index), MARK: _mark(fields, written + updated)}
    _ask(bulk, "PUT", f"/{name}/_mapping", {"_meta": meta})
    return updated


def expunge(bulk: Bulk, index: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Have Lucene write anew the segments that hold what documents were before; blocks until it has.

    Raises `Transient`, `Stop`, `Terminal`.
    """
    name = quote(index)
    _ask(bulk, "PUT", f"/{name}/_settings", {_EXPUNGE: 0})
    try:
        merge = f"/{name}/_forcemerge?only_expunge_deletes=true&flush=true&wait_for_completion=false"
        _done(bulk, _ask(bulk, "POST", merge)["task"], index, sleep)
    finally:
        _ask(bulk, "PUT", f"/{name}/_settings", {_EXPUNGE: None})


def _pages(bulk: Bulk, name: str) -> Iterator[Sequence[FoundDocument]]:
    point = _ask(bulk, "POST", f"/{name}/_pit?keep_alive=5m")["id"]
    after: list[Any] = []
    try:
        while True:
            query: dict[str, Any] = {
                "size": PAGE,
                "pit": {"id": point, "keep_alive": "5m"},
                "sort": ["_shard_doc"],
                "seq_no_primary_term": True,
                "track_total_hits": False,
                **({"search_after": after} if after else {}),
            }
            page = _ask(bulk, "POST", "/_search", query, shape=DocumentPage)
            if not page.hits.hits:
                return
            yield page.hits.hits
            point, after = page.pit_id or point, page.hits.hits[-1].sort
    finally:
        _ask(bulk, "DELETE", "/_pit", {"id": point})


def _write(bulk: Bulk, name: str, lines: Sequence[bytes]) -> int:
    """How many were written; what somebody else has changed meanwhile comes again."""
    answer = bulk.request("POST", f"/_bulk?index={name}", b"\n".join(lines) + b"\n")
    if answer.status != 200:
        raise Transient(f"documents of {name} cannot be written: Elasticsearch answers {answer.status}")
    done = 0
    for item in msgspec.json.decode(answer.body)["items"]:
        said = next(iter(item.values()))
        kind = said.get("error", {}).get("type", "")
        if said["status"] >= 300 and kind != "version_conflict_engine_exception":
            raise Transient(f"a document of {name} cannot be written ({kind}); let the index take writes")
        done += said["status"] < 300
    return done


def _done(bulk: Bulk, task: str, index: str, sleep: Callable[[float], None]) -> None:
    while True:
        found = _ask(bulk, "GET", f"/_tasks/{quote(task)}")
        if found["completed"]:
            if "error" in found:
                raise Terminal(f"segments of {index} cannot be merged: {found['error'].get('reason')}; see its log")
            return
        sleep(_POLL_S)


def _meta(bulk: Bulk, index: str) -> dict[str, Any]:
    answer = _ask(bulk, "GET", f"/{quote(index)}/_mapping")
    return dict(answer[index]["mappings"].get("_meta", {}))


def _written(bulk: Bulk, index: str) -> int:
    """A number that rises with each write to the index."""
    answer = _ask(bulk, "GET", f"/{quote(index)}/_stats/docs?level=shards")
    shards = answer["indices"][index]["shards"].values()
    return sum(max(int(copy["seq_no"]["max_seq_no"]) for copy in copies) for copies in shards)


def _ask(bulk: Bulk, method: str, path: str, body: Any = None, shape: Any = dict[str, Any]) -> Any:
    right = "give the login read, index, maintenance, monitor and manage on the consumers' indices, and monitor"
    return ask(bulk, method, path, body, right, shape=shape)
