"""A question to the metrics database, and the one SQL statement that answers it; nothing here connects.

Each name in it has been found in the database's own list of what can be read; values are parameters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from fleetgauge.analytics.readable import Readable, ReadableMeasure
from fleetgauge.analytics.sketch_quantiles import Sketches
from fleetgauge.postgres import Jsonb, sql

ReadGrain = Literal["minute", "hour", "day"]
Kind = Literal["text", "integer", "decimal", "float", "boolean", "instant"]
_KINDS: Mapping[str, Kind] = {
    "bigint": "integer",
    "numeric": "decimal",
    "double precision": "float",
    "text": "text",
    "timestamp with time zone": "instant",
}
TIME = "bucket_start"
MARKS = ("partial", "provisional", "blocked", "frozen", "suppressed")
"""Columns that say how far a row is to be believed; the last only where numbers about persons are asked for."""


@dataclass(frozen=True)
class AnswerColumn:
    """A column of the answer; `description` has the unit, as the definition says it."""

    name: str
    kind: Kind
    description: str


@dataclass(frozen=True)
class RangeQuery:
    """What is asked: buckets of a grain in [since, until), split `by` dimensions, narrowed by `where`."""

    readable: Readable
    measures: Sequence[ReadableMeasure]
    every: Sequence[ReadableMeasure]
    """All that there are: a ratio is made of two others, whether they are asked for or not."""
    grain: ReadGrain
    since: datetime
    until: datetime
    by: Sequence[str] = ()
    where: Mapping[str, Sequence[str]] | None = None
    quantiles: Sequence[float] = (0.5, 0.95, 0.99)

    @property
    def stem(self) -> str:
        """The views that are read: the smallest that have what is asked for."""
        return self.readable.stem({*self.by, *(self.where or {})})

    def columns(self) -> list[AnswerColumn]:
        """Those of the answer, in order."""
        zone = self.readable.time_zone
        found = [AnswerColumn(TIME, "instant", f"Where the {self.grain} begins, in {zone}.")]
        found += [AnswerColumn(name, "text", "") for name in self.by]
        for one in self.measures:
            found += [AnswerColumn(name, kind, said) for name, kind, said in _named(one, self.quantiles)]
        found += [
            AnswerColumn("partial", "boolean", "The range cuts this window: it is counted in part."),
            AnswerColumn("provisional", "boolean", "May still change."),
            AnswerColumn("blocked", "boolean", "A cell of it keeps an old value, for its new one broke a check."),
            AnswerColumn("frozen", "boolean", "Stays as it is: its source has expired."),
        ]
        if self._distinct:
            said = "A number about so few persons that it is kept back is missing in this row."
            found.append(AnswerColumn("suppressed", "boolean", said))
        return found

    def answer(self, rows: Sequence[Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Rows of the statement, from a cursor of `postgres.raw_arrays`, as columns; sketches read as quantiles."""
        held = iter(zip(*rows, strict=True)) if rows else iter(lambda: (), None)
        found: dict[str, Sequence[Any]] = {name: next(held) for name in (TIME, *self.by)}
        for one in self.measures:
            values = next(held)
            if one.aggregate in ("percentile", "tally"):
                sketches = Sketches.of(values)
                read = sketches.values if one.aggregate == "percentile" else sketches.positions
                found |= {_quantile(one.name, q): read(q) for q in self.quantiles}
            else:
                found[one.name] = values
            if one.aggregate == "tally":
                found[f"{one.name}_unknown"] = next(held)
        return found | {mark: next(held) for mark in (MARKS if self._distinct else MARKS[:-1])}

    def query(self) -> tuple[sql.Composed, dict[str, Any]]:
        """The statement and its parameters; rows come by time and dimensions, sketches merged."""
        where = {name: list(values) for name, values in (self.where or {}).items()}
        parameters: dict[str, Any] = {
            "metric": self.readable.metric,
            "stem": self.stem,
            "since": self.since,
            "until": self.until,
            "grain": self.grain,
            "zone": self.readable.time_zone,
            "frozen": self.readable.frozen_before,
            "filters": Jsonb(where),
            "by": list(self.by),
            **{f"where_{index}": values for index, values in enumerate(where.values())},
        }
        keys = [sql.Identifier("r", name) for name in (TIME, *self.by)]
        asked: list[sql.Composable] = []
        for one in self.measures:
            asked += [] if one.aggregate == "distinct" else self._merged(one)
        conditions = [
            sql.SQL("{} = ANY(%({})s::text[])").format(sql.Identifier("r", name), sql.SQL(f"where_{index}"))
            for index, name in enumerate(where)
        ]
        statement = sql.SQL(
            "WITH e AS MATERIALIZED"
            " (SELECT * FROM fleetgauge.range_edges(%(metric)s, %(since)s, %(until)s, %(grain)s)),"
            " cell AS MATERIALIZED (SELECT {cell}, bool_or(r.provisional) AS provisional"
            " FROM metrics.{function}(%(since)s, %(until)s, %(grain)s) AS r{where} GROUP BY {keys}),"
            " bucket AS MATERIALIZED (SELECT b.*, b.starts < e.begins OR b.ends > e.ends AS partial,"
            " EXISTS (SELECT FROM metrics.blocked AS k WHERE k.metric = %(metric)s"
            " AND k.window_start >= b.starts AND k.window_start < b.ends) AS blocked,"
            " coalesce(b.starts < %(frozen)s::timestamptz, false) AS frozen"
            " FROM (SELECT starts, fleetgauge.window_end(starts, %(grain)s, %(zone)s) AS ends"
            " FROM (SELECT DISTINCT bucket_start AS starts FROM cell) AS d) AS b, e)"
            " SELECT {shown}, b.partial, c.provisional, b.blocked, b.frozen{suppressed}"
            " FROM cell AS c INNER JOIN bucket AS b ON b.starts = c.bucket_start{counts} ORDER BY {order}"
        ).format(
            cell=sql.SQL(", ").join([*keys, *asked]),
            function=sql.Identifier(f"{self.stem}_range"),
            where=sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL(""),
            keys=sql.SQL(", ").join(keys),
            shown=sql.SQL(", ").join(self._shown()),
            suppressed=self._suppressed(),
            counts=sql.SQL("").join(self._counts()),
            order=sql.SQL(", ").join(sql.Identifier("c", name) for name in (TIME, *self.by)),
        )
        return statement, parameters

    @property
    def _distinct(self) -> list[ReadableMeasure]:
        return [one for one in self.measures if one.aggregate == "distinct"]

    def _shown(self) -> Iterator[sql.Composable]:
        for name in (TIME, *self.by):
            yield sql.Identifier("c", name)
        for one in self.measures:
            if one.aggregate == "distinct":
                yield sql.SQL("{}.estimate").format(sql.Identifier(f"count_{one.name}"))
            else:
                yield sql.Identifier("c", one.name)
                if one.aggregate == "tally":
                    yield sql.Identifier("c", f"{one.name}_unknown")

    def _suppressed(self) -> sql.Composable:
        if not self._distinct:
            return sql.SQL("")
        flags = [sql.SQL("{}.suppressed").format(sql.Identifier(f"count_{one.name}")) for one in self._distinct]
        return sql.SQL(", coalesce({}, false)").format(sql.SQL(" OR ").join(flags))

    def _counts(self) -> Iterator[sql.Composable]:
        parts = [sql.SQL("{}::text").format(sql.Identifier("c", name)) for name in self.by]
        for one in self._distinct:
            alias = sql.Identifier(f"count_{one.name}")
            yield sql.SQL(
                " LEFT JOIN fleetgauge.distinct_count(%(stem)s, {}, %(since)s, %(until)s, %(grain)s, %(filters)s,"
                " %(by)s::text[]) AS {} ON {}.bucket_start = c.bucket_start AND {}.parts = ARRAY[{}]::text[]"
            ).format(sql.Literal(one.name), alias, alias, alias, sql.SQL(", ").join(parts))

    def _merged(self, one: ReadableMeasure) -> list[sql.Composable]:
        """A measure over the rows of a bucket, as dashboards read it, as one column or several."""
        column = sql.Identifier("r", one.name)
        match one.aggregate:
            case "percentile" | "tally":
                merge = "sketch_merge" if one.aggregate == "percentile" else "tally_merge"
                found: list[sql.Composable] = [
                    sql.SQL("fleetgauge.{}({})::bigint[] AS {}").format(
                        sql.SQL(merge), column, sql.Identifier(one.name)
                    )
                ]
                if one.aggregate == "tally":
                    name = f"{one.name}_unknown"
                    found.append(
                        sql.SQL("sum({})::bigint AS {}").format(sql.Identifier("r", name), sql.Identifier(name))
                    )
                return found
            case "ratio":
                kinds = {other.name: other for other in self.every}
                above, below = kinds[str(one.numerator)], kinds[str(one.denominator)]
                value = sql.SQL("({}::double precision / nullif({}, 0)::double precision)").format(
                    _number(above), _number(below)
                )
            case "last":
                at = sql.Identifier("r", f"{one.name}_at")
                value = sql.SQL("(array_agg({} ORDER BY {} DESC NULLS LAST))[1]").format(column, at)
            case _:
                value = _number(one)
        return [sql.SQL("{} AS {}").format(value, sql.Identifier(one.name))]


def _number(one: ReadableMeasure) -> sql.Composed:
    """`sum` of whole numbers is numeric to Postgres; here they stay what they are, and too large a one is an error."""
    function = one.aggregate if one.aggregate in ("min", "max") else "sum"
    return sql.SQL("{}({})::{}").format(sql.SQL(function), sql.Identifier("r", one.name), sql.SQL(_type(one)))


def _type(one: ReadableMeasure) -> str:
    return one.type if one.type in _KINDS else "numeric"


def _quantile(measure: str, q: float) -> str:
    return f"{measure}_p{100 * q:g}".replace(".", "_")


def _named(one: ReadableMeasure, quantiles: Sequence[float]) -> Iterator[tuple[str, Kind, str]]:
    match one.aggregate:
        case "percentile" | "tally":
            kind: Kind = "float" if one.aggregate == "percentile" else "integer"
            exact = "within 1 %" if one.aggregate == "percentile" else "exact"
            for q in quantiles:
                yield (
                    _quantile(one.name, q),
                    kind,
                    _said(one, q, exact),
                )
            if one.aggregate == "tally":
                yield f"{one.name}_unknown", "integer", f"Rows without a value of {one.name}."
        case _:
            yield one.name, _KINDS[_type(one)], one.description


def _said(one: ReadableMeasure, q: float, exact: str) -> str:
    return f"{one.description} {100 * q:g} % are not above it ({exact}).".strip()
