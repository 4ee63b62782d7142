"""Aggregates as Parquet: a file for each local day, in hive partitions, in a folder or an S3-compatible store.

A file holds what `read` gives of that day by all dimensions: sketches are read, and numbers about few persons are kept
back. It is written beside and then moved to where it belongs, so that no reader sees a part of it; the same day again
replaces it, byte by byte the same while its rows are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from fleetgauge.addresses import without_login
from fleetgauge.analytics.frames import range_query, stretch_of
from fleetgauge.analytics.parquet_file import put_file
from fleetgauge.analytics.range_query import AnswerColumn, Kind, RangeQuery, ReadGrain
from fleetgauge.analytics.readable import find
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, raw_arrays

PARTITION = "date"
"""The local day, in the metric's zone, by which files are found: `rental_day/date=2026-11-20/part-0.parquet`."""
DECIMALS = 9
"""Digits after the point; a number that has more is refused, never rounded."""
BATCH = 10_000
"""Rows in memory."""
_TYPES: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.decimal128(38, DECIMALS),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "instant": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class DayFile:
    """One day that was written, or would be."""

    day: date
    path: str
    rows: int | None
    """None: not counted, for nothing was written."""


def table_name(metric: str, grain: ReadGrain) -> str:
    """What the folder and the table are called."""
    return f"{metric}_{grain}"


def store_of(destination: str) -> tuple[fs.FileSystem, str]:
    """The file system and the path of a folder or a URI such as `s3://bucket/prefix?region=ap-northeast-2`.

    Raises `Terminal` for what is neither.
    """
    try:
        if "://" not in destination:
            return fs.LocalFileSystem(), str(Path(destination).absolute())
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(destination)
        return found
    except (pa.ArrowException, OSError) as error:
        raise Terminal(
            f"{without_login(destination)} is neither a folder nor the URI of a store ({type(error).__name__})"
        ) from None


def write_days(
    connection: Connection,
    metric: str,
    grain: ReadGrain,
    first: date,
    until: date,
    store: fs.FileSystem,
    root: str,
    *,
    dry_run: bool = False,
) -> Iterator[DayFile]:
    """Write the local days in [first, until), each as soon as it is asked for; blocks.

    Raises `Terminal` for a name that is not there, for rows that have expired, and for a number that does not fit.
    """
    day, dimensions = first, find(connection, metric).dimensions
    while day < until:
        following = day + timedelta(days=1)
        asked = range_query(connection, metric, grain, day, following, dimensions)
        folder = f"{root}/{table_name(metric, grain)}"
        path = f"{folder}/{PARTITION}={day.isoformat()}/part-0.parquet"
        rows = None
        if not dry_run:
            stretch_of(connection, asked)
            rows = _write(connection, asked, store, folder, path)
        yield DayFile(day, path, rows)
        day = following


def schema_of(asked: RangeQuery) -> pa.Schema:
    """Of the files, with what each column means."""
    return pa.schema([_field(one) for one in asked.columns()])


def _field(one: AnswerColumn) -> pa.Field:
    return pa.field(one.name, _TYPES[one.kind], metadata={"comment": one.description} if one.description else None)


def _write(connection: Connection, asked: RangeQuery, store: fs.FileSystem, folder: str, path: str) -> int:
    schema = schema_of(asked)
    batches = (pa.record_batch(_arrays(asked, schema, batch), schema=schema) for batch in _batches(connection, asked))
    return put_file(store, folder, path, schema, batches)


def _batches(connection: Connection, asked: RangeQuery) -> Iterator[list[tuple[Any, ...]]]:
    statement, parameters = asked.query()
    with connection.transaction(), connection.cursor("export", binary=True) as cursor:
        cursor.itersize = BATCH
        raw_arrays(cursor).execute(statement, parameters)
        rows = iter(cursor)
        while batch := list(islice(rows, BATCH)):
            yield batch


def _arrays(asked: RangeQuery, schema: pa.Schema, rows: list[tuple[Any, ...]]) -> list[pa.Array]:
    held = asked.answer(rows)
    found = []
    for field in schema:
        try:
            found.append(pa.array(held[field.name], type=field.type))
        except pa.ArrowInvalid as error:
            raise Terminal(
                f"{asked.readable.name}.{field.name} holds a number that {field.type} does not hold exactly: {error}"
            ) from None
    return found
