"""Stored events as Parquet: a file for each UTC day of a consumer, in hive partitions, as aggregates are exported.

A column for each field that the contracts name, typed as they say, nested names joined by `_`. Unless `personal` is
asked for, ids of persons and what contracts keep for some days only are left out, and so is what no contract names.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
from pyarrow import fs

from fleetgauge.analytics.parquet_days import PARTITION, DayFile
from fleetgauge.analytics.parquet_file import put_file
from fleetgauge.clock import SystemClock
from fleetgauge.contracts import Contract, load
from fleetgauge.contracts.subset import Array, Choice, Node, Object, Scalar
from fleetgauge.document_sources import replaying_groups
from fleetgauge.elasticsearch.client import Elasticsearch, NotFoundError, connect
from fleetgauge.elasticsearch.elasticsearch_errors import translated
from fleetgauge.elasticsearch.point_in_time import KEEP_ALIVE, open_point
from fleetgauge.errors import Terminal
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.indices.event_indices import POSITION, SUFFIX
from fleetgauge.progress.offsets import read_progress
from fleetgauge.settings import Settings

DAY = timedelta(days=1)
PAGE = 5_000
"""Documents in memory."""
_INSTANT = pa.timestamp("ms", tz="UTC")
_SCALARS = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
_OWN: Mapping[str, tuple[str, pa.DataType]] = {
    "ingested_at": ("event.ingested", _INSTANT),
    "kafka_partition": ("kafka.partition", pa.int32()),
    "kafka_offset": ("kafka.offset", pa.int64()),
}
"""Columns of what the pipeline writes to each document; by partition and offset rows are sorted."""
OTHER = "other"
"""The column of what no contract names, as JSON."""


@dataclass(frozen=True)
class RawColumns:
    """Which member of a document goes into which column."""

    paths: Mapping[str, tuple[str, ...]]
    """Column → the member's names, from the outside in."""
    types: Mapping[str, pa.DataType]
    named: frozenset[tuple[str, ...]]
    """All members that contracts name, those that are left out too."""
    other: bool

    @property
    def schema(self) -> pa.Schema:
        """Of the files."""
        own = [pa.field(name, kind) for name, (_, kind) in _OWN.items()]
        more = [pa.field(OTHER, pa.string())] if self.other else []
        return pa.schema([*(pa.field(name, self.types[name]) for name in self.paths), *own, *more])

    def batch(self, documents: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        """Documents as rows. Raises `Terminal` for a value that its column does not hold exactly."""
        values: dict[str, list[Any]] = {
            name: [_plain(_at(one, path), self.types[name]) for one in documents] for name, path in self.paths.items()
        }
        values |= {name: [one.get(key) for one in documents] for name, (key, _) in _OWN.items()}
        if self.other:
            values[OTHER] = [self._rest(one) for one in documents]
        arrays = []
        for field in self.schema:
            try:
                arrays.append(pa.array(values[field.name], type=field.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise Terminal(f"column {field.name} does not hold a value of a stored event: {error}") from None
        return pa.record_batch(arrays, schema=self.schema)

    def _rest(self, document: Mapping[str, Any]) -> str | None:
        beside = {*SUFFIX, POSITION}
        rest = _without({key: value for key, value in document.items() if key not in beside}, (), self.named)
        return json.dumps(rest, ensure_ascii=False, sort_keys=True) if rest else None


def raw_columns(contracts: Iterable[Contract], *, personal: bool) -> RawColumns:
    """The columns of events of these contracts. Pure. Raises `Terminal` where two members would share a column."""
    paths: dict[str, tuple[str, ...]] = {}
    types: dict[str, pa.DataType] = {}
    named: set[tuple[str, ...]] = set()
    known = list(contracts)
    marked = [path for one in known for path in (*one.subjects, *one.short_lived)]
    kept_back = {tuple(path.replace("[]", "").split(".")) for path in marked}
    for contract in known:
        for path, kind in _leaves((), contract.node):
            named.add(path)
            if not personal and any(path[: len(one)] == one for one in kept_back):
                continue
            name = "_".join(path)
            if paths.setdefault(name, path) != path or name in _OWN or name == OTHER:
                raise Terminal(f"{'.'.join(path)} of contract {contract.kind} has no column: {name} is taken")
            if types.setdefault(name, kind) != kind:
                raise Terminal(f"{'.'.join(path)} has another type in contract {contract.kind}; rename one of them")
    first = [name for name in ("kind", "timestamp", "device_id", "event_id") if name in paths]
    ordered = [*first, *sorted(paths.keys() - {*first})]
    return RawColumns({name: paths[name] for name in ordered}, types, frozenset(named), personal)


def export_raw_days(
    settings: Settings,
    consumer: Consumer,
    first: date,
    until: date,
    store: fs.FileSystem,
    root: str,
    stored: datetime,
    *,
    personal: bool = False,
    dry_run: bool = False,
) -> Iterator[DayFile]:
    """Write the UTC days in [first, until) of a consumer's events, each as soon as it is asked for; blocks.

    `stored`: see `stored_until`. A day without an index is not written (`rows` is None): it may have expired, and its
    file be all that is left. Raises `Terminal` for a day that is not stored in whole yet, and `Transient`.
    """
    contracts = load(settings.content / "schemas" / "events")
    columns = raw_columns([contracts[kind] for kind in consumer.contracts], personal=personal)
    if first < until and stored < _begin(until):
        raise Terminal(
            f"events of {consumer.name} are stored up to {stored:%Y-%m-%d %H:%M}Z, so {until - DAY} is not whole yet;"
            " wait, or leave it out"
        )
    folder = f"{root}/{consumer.name.replace('-', '_')}_raw"
    client = connect(settings.elasticsearch)
    with closing(client):
        for back in range((until - first).days):
            day = first + back * DAY
            path = f"{folder}/{PARTITION}={day.isoformat()}/part-0.parquet"
            rows = None
            if not dry_run:
                with translated(
                    f"events of {day} could not be read from {settings.elasticsearch.url}",
                    f"give the login read and maintenance on {consumer.index}-* (deploy/elasticsearch)",
                ):
                    rows = _write(client, f"{consumer.index}-{day:%Y.%m.%d}", columns, store, folder, path)
            yield DayFile(day, path, rows)


def stored_until(settings: Settings, consumer: Consumer) -> datetime:
    """Up to when everything that was appended is stored, by what its groups have committed. Blocks."""
    clock = SystemClock()
    groups = (consumer.group, *replaying_groups(settings.content, consumer))
    return min(read_progress(settings.kafka, consumer.topic, group, clock).watermark for group in groups)


def _write(
    client: Elasticsearch, index: str, columns: RawColumns, store: fs.FileSystem, folder: str, path: str
) -> int | None:
    try:
        point = open_point(client, index)
    except NotFoundError as error:
        if error.error != "index_not_found_exception":
            raise
        return None
    try:
        batches = (columns.batch(page) for page in _pages(client, point))
        return put_file(store, folder, path, columns.schema, batches)
    finally:
        client.options(ignore_status=404).close_point_in_time(id=point)


def _pages(client: Elasticsearch, point: str) -> Iterator[list[Mapping[str, Any]]]:
    after: list[Any] | None = None
    while True:
        answer = client.search(
            pit={"id": point, "keep_alive": KEEP_ALIVE},
            sort=[{"kafka.partition": "asc"}, {"kafka.offset": "asc"}],
            search_after=after,
            size=PAGE,
            track_total_hits=False,
            allow_partial_search_results=False,
            filter_path=["pit_id", "hits.hits._source", "hits.hits.sort"],
        ).body
        point = answer["pit_id"]
        hits = answer.get("hits", {}).get("hits", [])
        if hits:
            yield [hit["_source"] for hit in hits]
        if len(hits) < PAGE:
            return
        after = hits[-1]["sort"]


def _leaves(at: tuple[str, ...], node: Node) -> Iterator[tuple[tuple[str, ...], pa.DataType]]:
    match node:
        case Object(properties):
            for key, child in properties.items():
                yield from _leaves((*at, key), child)
        case Array():
            yield at, pa.string()
        case Choice(values):
            yield at, pa.string() if isinstance(values[0], str) else pa.int64()
        case Scalar():
            yield at, _INSTANT if node.instant else _SCALARS[node.type]


def _plain(value: Any, kind: pa.DataType) -> Any:
    """A list as JSON, a whole number as the fraction that its column holds; all else as it is."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return float(value) if kind == pa.float64() and isinstance(value, int) else value


def _at(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = document
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _without(members: Mapping[str, Any], at: tuple[str, ...], named: Collection[tuple[str, ...]]) -> dict[str, Any]:
    """The members that are not `named`, nested as they are."""
    rest: dict[str, Any] = {}
    for key, value in members.items():
        path = (*at, key)
        if path in named:
            continue
        inner = _without(value, path, named) if isinstance(value, Mapping) else value
        if inner or not isinstance(value, Mapping):
            rest[key] = inner
    return rest


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(0), UTC)
