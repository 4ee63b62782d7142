"""Rows of a metric's views as a person reads them: sketches as quantiles and counts, over the dimensions asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fleetgauge import postgres
from fleetgauge.errors import Terminal
from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain, Level
from fleetgauge.rollup.definitions.measures import Column, Distinct, Percentile, Tally, unit_of
from fleetgauge.rollup.operating.attention import waiting
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.store_sql import merge
from fleetgauge.rollup.store.tables import STORE, VIEWS
from fleetgauge.rollup.store.versions import versions
from fleetgauge.rollup.store.views import counts_sets
from fleetgauge.settings import Settings

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Shown:
    """Rows by window; `columns` begin with `window_start`, of days also with `date`, and end with `provisional`.

    Instants are in the time zone of the metric, `date` is the local day.
    """

    view: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    waiting: str | None = None
    """Why the view does not show the definition as it is, if it does not."""
    units: Mapping[str, str] = field(default_factory=dict)
    """What the columns of measures are counted in, where it is not a plain number."""
    left_out: tuple[tuple[str, int], ...] = ()
    """Rows of the source that are in none of these numbers: why, and how many; those of no time of a fleet always."""


def show(
    settings: Settings,
    definition: Definition,
    grain: Grain,
    within: timedelta | Span,
    by: Sequence[str] | None,
    limit: int,
) -> Shown:
    """The latest rows of the windows that begin within a time until now or within a span, at most `limit`; blocks.

    `by`: the dimensions to split by, None for all.

    Reads the smallest view that has them; while the views wait to show the definition, in the words of the version that
    they do show. Raises `Terminal` for what is no dimension, or before `fleetgauge migrate`.
    """
    with postgres.metrics(settings.metrics).session("show", jit="off") as connection:
        waits = waiting(connection, definition)
        known = versions(connection, definition.metric)
        if known and known[0].published_at is not None:
            definition = known[0].definition or definition
        query, view = _query(definition, grain, within, by, limit)
        cursor = connection.execute(query)
        names = tuple(column.name for column in cursor.description or ())
        zone = ZoneInfo(definition.time_zone)
        rows = tuple((row[0].astimezone(zone), *row[1:]) for row in cursor.fetchall())
        left_out = tuple(connection.execute(_left_out(definition, within)).fetchall())
        return Shown(f"{VIEWS}.{view}", names, rows, waits.why if waits else None, _units(definition, names), left_out)


def _units(definition: Definition, columns: Sequence[str]) -> dict[str, str]:
    found = {name: unit_of(name, measure) for name, measure in definition.measures.items()}
    quantiles = {f"{name}_{q}": unit for name, unit in found.items() for q in QUANTILES}
    return {name: unit for name, unit in {**quantiles, **found}.items() if name in columns and unit != "count"}


def _query(
    definition: Definition, grain: Grain, within: timedelta | Span, by: Sequence[str] | None, limit: int
) -> tuple[sql.Composed, str]:
    kept = tuple(definition.dimensions) if by is None else tuple(dict.fromkeys(by))
    unknown = [name for name in kept if name not in definition.dimensions]
    if unknown:
        known = ", ".join(definition.dimensions) or "none"
        raise Terminal(f"metric {definition.metric} has no dimension {', '.join(unknown)} (it has: {known})")
    if grain not in definition.grains:
        raise Terminal(
            f"metric {definition.metric} has no {grain}s; give --grain {definition.finest}, or a coarser one"
        )
    level = _smallest(definition, grain, kept)
    windows = ("window_start", "date") if grain == "day" else ("window_start",)
    columns = [
        *(sql.Identifier("v", name) for name in windows),
        *(sql.Identifier("v", name) for name in kept),
        *_measures(definition),
        sql.SQL("bool_or(v.provisional) AS provisional"),
    ]
    view = definition.view(level)
    query = sql.SQL(
        "SELECT * FROM (SELECT {columns} FROM {view} AS v WHERE {within}"
        " GROUP BY {keys} ORDER BY {newest} LIMIT {limit}) AS latest ORDER BY {keys}"
    ).format(
        columns=sql.SQL(", ").join(columns),
        view=sql.Identifier(STORE if counts_sets(definition) else VIEWS, view),
        within=_within(within),
        keys=sql.SQL(", ").join(sql.SQL(str(index + 1)) for index in range(len(windows) + len(kept))),
        newest=sql.SQL(", ").join(
            sql.SQL(f"{index + 1} DESC" if index == 0 else str(index + 1)) for index in range(len(windows) + len(kept))
        ),
        limit=sql.Literal(limit),
    )
    return query, view


def _within(stretch: timedelta | Span) -> sql.Composed:
    if isinstance(stretch, timedelta):
        return sql.SQL("v.window_start >= now() - {}").format(sql.Literal(stretch))
    begin, end = map(sql.Literal, stretch)
    return sql.SQL("v.window_start >= {} AND v.window_start < {}").format(begin, end)


def _left_out(definition: Definition, stretch: timedelta | Span) -> sql.Composed:
    begin: sql.Composable
    end: sql.Composable
    if isinstance(stretch, timedelta):
        begin, end = sql.SQL("now() - {}").format(sql.Literal(stretch)), sql.SQL("'infinity'")
    else:
        begin, end = map(sql.Literal, stretch)
    return sql.SQL("SELECT reason, row_count FROM fleetgauge.left_out_rows({}, {}, {})").format(
        sql.Literal(definition.metric), begin, end
    )


def _smallest(definition: Definition, grain: Grain, kept: Sequence[str]) -> Level:
    fit = [level for level in definition.levels if level.grain == grain and set(kept) <= set(level.dimensions)]
    return min(fit, key=lambda level: len(level.dimensions))


def _measures(definition: Definition) -> list[sql.Composable]:
    found: list[sql.Composable] = []
    for name, measure in definition.measures.items():
        if ratio := definition.ratios.get(name):
            parts = {column.name: merge("v", column) for column in definition.columns}
            found.append(
                sql.SQL("({}::double precision / nullif({}, 0)::double precision) AS {}").format(
                    parts[ratio.numerator], parts[ratio.denominator], sql.Identifier(name)
                )
            )
        for column in definition.columns:
            if column.measure is measure:
                found += _readable(column)
    return found


def _readable(column: Column) -> list[sql.Composable]:
    merged = merge("v", column)
    match column.measure:
        case Percentile() | Tally() if not column.beside:
            function = "quantile" if isinstance(column.measure, Percentile) else "tally_quantile"
            return [
                sql.SQL("{}({}, {}) AS {}").format(
                    sql.Identifier("fleetgauge", function),
                    merged,
                    sql.Literal(q),
                    sql.Identifier(f"{column.name}_{word}"),
                )
                for word, q in QUANTILES.items()
            ]
        case Distinct():
            return [sql.SQL('fleetgauge."distinct"({}) AS {}').format(merged, sql.Identifier(column.name))]
    return [sql.SQL("{} AS {}").format(merged, sql.Identifier(column.name))]
