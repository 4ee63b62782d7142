"""The metrics database as data frames: `read`, and `metrics` and `describe` to find out what there is."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pandas as pd

from fleetgauge import postgres, settings
from fleetgauge.addresses import DatabaseUrl
from fleetgauge.analytics.range_query import TIME, Kind, RangeQuery, ReadGrain
from fleetgauge.analytics.readable import all_readable, find, measures_of
from fleetgauge.errors import Terminal
from fleetgauge.files.plain import shown
from fleetgauge.postgres import Connection, only_row, raw_arrays
from fleetgauge.settings import MetricsSettings

Instant = str | date | datetime
"""Without a zone it is one of the metric's zone; a date is its midnight."""
Wanted = Mapping[str, str | Sequence[str]]

_DTYPES: Mapping[Kind, str] = {
    "text": "string",
    "integer": "Int64",
    "decimal": "object",  # decimal.Decimal
    "float": "float64",
    "boolean": "bool",
    "instant": "object",
}
_SESSION = {"jit": "off", "work_mem": "64MB", "enable_hashagg": "off"}
"""Merging sketches takes a memory context for each group; a hash over groups asks all of them at each new one."""
_STRETCH = "SELECT grain, exact, fleetgauge.range_said(%s, %s, %s) FROM fleetgauge.range_edges(%s, %s, %s, %s)"


def read(
    metric: str,
    grain: ReadGrain,
    start: Instant,
    end: Instant,
    by: Sequence[str] = (),
    where: Wanted | None = None,
    *,
    measures: Sequence[str] | None = None,
    quantiles: Sequence[float] = (0.5, 0.95, 0.99),
    url: str | None = None,
) -> pd.DataFrame:
    """The numbers of a metric in [start, end), one row for each window and combination of values of `by`.

    The index is the window's start in the metric's time zone. What the range cuts is `partial`; `provisional` may still
    change, `blocked` holds an old value, `frozen` has a source that has expired, `suppressed` keeps a number about few
    persons back (NA). Whole numbers are Int64, money and other decimals `decimal.Decimal`, ratios and quantiles
    float64. Sketches are merged over the window and read: a percentile within 1 % as `<measure>_p95` and so on, a tally
    exactly, a distinct as a number. `where`: dimension → a value or several; `measures`: by default all.

    `url`: of the metrics database with a login that may read; by default that of the settings (`metrics.url`).
    Blocks. Raises `Terminal` for a name that is not there, and where rows of the grain have expired.
    """
    with connected(url) as connection:
        asked = range_query(connection, metric, grain, start, end, by, where, measures, quantiles)
        stretch = stretch_of(connection, asked)
        if stretch:
            warnings.warn(f"{metric}: finer rows have expired; the range is{stretch}", stacklevel=2)
        statement, parameters = asked.query()
        rows = raw_arrays(connection.cursor(binary=True)).execute(statement, parameters).fetchall()
        frame = _frame(asked, rows)
        frame.attrs |= {"metric": metric, "grain": grain, "views": f"metrics.{asked.stem}_…", "stretch": stretch}
        return frame


def metrics(*, url: str | None = None) -> pd.DataFrame:
    """What can be read: a row for each metric and each family of derived views; the index is its name. Blocks."""
    with connected(url) as connection:
        found = all_readable(connection)
    rows = [
        {
            "description": one.description,
            "dimensions": one.dimensions,
            "time_zone": one.time_zone,
            "derived_from": one.metric if one.derived else None,
            "least_persons": one.least_persons,
            "final_until": None if one.final_until is None else one.final_until.astimezone(ZoneInfo(one.time_zone)),
        }
        for one in found
    ]
    columns = ["description", "dimensions", "time_zone", "derived_from", "least_persons", "final_until"]
    return pd.DataFrame(rows, index=pd.Index([one.name for one in found], name="metric"), columns=columns)


def describe(metric: str, *, url: str | None = None) -> pd.DataFrame:
    """What `read` gives of a metric: each column's role, aggregate, label, unit, meaning, and SQL to read it.

    Blocks. Raises `Terminal` for a name that is not there.
    """
    with connected(url) as connection:
        found = find(connection, metric)
        rows: list[dict[str, Any]] = [
            {"column": name, "role": "dimension", "description": said, "sql": name}
            for name, said in connection.execute(
                "SELECT dimension, coalesce(description, '') FROM metrics.dimension WHERE name = %s ORDER BY position",
                [metric],
            )
        ]
        for one in measures_of(connection, found, None):
            rows.append(
                {
                    "column": one.name,
                    "role": "measure",
                    "aggregate": one.aggregate,
                    "label": one.label,
                    "unit": one.unit,
                    "description": one.description,
                    "sql": one.over_rows,
                }
            )
    return pd.DataFrame(rows, columns=["column", "role", "aggregate", "label", "unit", "description", "sql"]).set_index(
        "column"
    )


def range_query(
    connection: Connection,
    metric: str,
    grain: ReadGrain,
    start: Instant,
    end: Instant,
    by: Sequence[str] = (),
    where: Wanted | None = None,
    measures: Sequence[str] | None = None,
    quantiles: Sequence[float] = (0.5, 0.95, 0.99),
) -> RangeQuery:
    """What a caller asks in its own words. Raises `Terminal` for what the database does not know."""
    if grain not in get_args(ReadGrain):
        raise Terminal(f"the grain {shown(grain)} is none; write minute, hour or day")
    for q in quantiles:
        if not 0 <= q <= 1:
            raise Terminal(f"the quantile {shown(q)} does not lie between 0 and 1")
    found = find(connection, metric)
    wanted = {name: [values] if isinstance(values, str) else [*values] for name, values in (where or {}).items()}
    split = tuple(dict.fromkeys([by] if isinstance(by, str) else by))
    found.refuse_unknown([*split, *wanted])
    zone = ZoneInfo(found.time_zone)
    since, until = instant(start, zone), instant(end, zone)
    if until < since:
        raise Terminal(f"the range ends at {until.isoformat()}, before it begins at {since.isoformat()}")
    every = measures_of(connection, found, None)
    chosen = every if measures is None else measures_of(connection, found, measures)
    return RangeQuery(found, chosen, every, grain, since, until, split, wanted, tuple(quantiles))


def stretch_of(connection: Connection, asked: RangeQuery) -> str:
    """Which stretch is read where finer rows of the range's edges have expired; empty if it is the range itself.

    Raises `Terminal` where the rows of the grain itself have expired.
    """
    span = [asked.readable.metric, asked.since, asked.until]
    grain, exact, said = only_row(connection.execute(_STRETCH, [*span, *span, asked.grain]))
    if grain != asked.grain:
        raise Terminal(
            f"{asked.readable.name}: rows of each {asked.grain} are not kept from {asked.since.isoformat()} on; "
            f"ask for a later start, or for the grain {grain}"
        )
    return "" if exact else str(said)


def instant(at: Instant, zone: ZoneInfo) -> datetime:
    """An instant from what a caller gives; without a zone it is one of `zone`. Raises `Terminal`."""
    found: object = at
    if isinstance(at, str):
        try:
            found = datetime.fromisoformat(at)
        except ValueError:
            raise Terminal(f"{shown(at)} is no instant; write one such as 2026-11-20 or 2026-11-20T10:30") from None
    if isinstance(found, date) and not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day)  # noqa: DTZ001 (gets its zone below)
    if not isinstance(found, datetime) or pd.isna(found):
        raise Terminal(f"{shown(at)} is no instant; write one such as 2026-11-20 or 2026-11-20T10:30")
    plain = found.to_pydatetime() if isinstance(found, pd.Timestamp) else found
    return plain.replace(tzinfo=zone) if plain.tzinfo is None else plain


@contextmanager
def connected(url: str | None) -> Iterator[Connection]:
    """A session that only reads, whoever logs in; `url` as for `read`."""
    if url is None:
        found = settings.load().metrics
    else:
        try:
            found = MetricsSettings(url=DatabaseUrl(url))
        except ValueError as error:
            raise Terminal(f"the url of the metrics database is not valid: {error}") from None
    with reading(found) as connection:
        yield connection


@contextmanager
def reading(found: MetricsSettings) -> Iterator[Connection]:
    """As `connected`, with settings that are loaded already."""
    with postgres.metrics(found).session("analytics", default_transaction_read_only="on", **_SESSION) as connection:
        yield connection


def _frame(asked: RangeQuery, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    held = asked.answer(rows)
    times = pd.to_datetime(pd.Series(held[TIME], dtype="object"), utc=True)
    data = {one.name: pd.Series(held[one.name], dtype=_DTYPES[one.kind]) for one in asked.columns()[1:]}
    frame = pd.DataFrame(data)
    frame.index = pd.DatetimeIndex(times, name=TIME).as_unit("us").tz_convert(asked.readable.time_zone)
    return frame
