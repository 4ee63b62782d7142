"""`metrics.<stem>_range(since, until, grain)`: the rows of any range, exact to the finest grain.

Beside the views of each metric, each subset of its dimensions and each trio of derived views `…_minute`, `…_hour` and
`…_day`. It reads whole windows in the middle and finer ones at the edges, through the views, with its caller's rights.
The third argument is the grain of `bucket_start`, or several windows of one: `5 minutes`, `6 hours`, `7 days`.
Where two versions of different time zones meet, finer windows are read too: see `seams`.
A metric that has no minutes is read to whole hours or days: the ledger says of such a grain that its rows have expired.
Where days have a column `month`, the first date of the local month, a range says of which months it needs rows: days
that are computed by whole months, as what a carrier charges by SIM, cannot tell that from their time.
Of stored rows it is SQL that the planner takes apart, so that conditions reach the indexes of the tables. Of views that
compute what they show, as cost, planning takes longer than reading: that is PL/pgSQL, which a session plans once, and
only the stretches that it needs. Its text names no object for the catalogue, so views can be made anew beneath it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetgauge.postgres import Connection, errors, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.catalogue import columns_of_all
from fleetgauge.rollup.store.dependents import Dependent, dependents_of_function
from fleetgauge.rollup.store.seams import Seam
from fleetgauge.rollup.store.tables import STORE, VIEWER, VIEWS
from fleetgauge.rollup.store.views import ViewColumn

_OWN = ("window_start", "date")
_PARTS: tuple[tuple[Grain, str, str], ...] = (
    ("minute", "begins", "hours_begin"),
    ("hour", "hours_begin", "days_begin"),
    ("day", "days_begin", "days_end"),
    ("hour", "days_end", "hours_end"),
    ("minute", "hours_end", "ends"),
)
_ORIGIN = sql.SQL(
    "CASE WHEN b.wish <> $3 AND isfinite(r.first_bucket) AND isfinite(r.ends) THEN ("
    "SELECT CASE WHEN min(c.ahead) = max(c.ahead) THEN (timestamp '2001-01-01' - min(c.ahead)) AT TIME ZONE 'UTC' END"
    " FROM generate_series(r.first_bucket - b.width, least(r.ends, r.first_bucket + interval '2 years'), '1 day') AS s,"
    " LATERAL (SELECT (s AT TIME ZONE k.tz) - (s AT TIME ZONE 'UTC') AS ahead"
    " UNION ALL SELECT (r.ends AT TIME ZONE k.tz) - (r.ends AT TIME ZONE 'UTC')) AS c"
    " WHERE r.ends <= r.first_bucket + interval '2 years') END AS origin"
)
"""From where buckets are counted, if the zone's clock is not set in the range: they are as even as the world's then."""
_Part = tuple[sql.Composed, str]
"""The SELECT of a stretch, and whether it has any time, of the edges `e`."""
_SIGNATURE = sql.SQL("(timestamptz, timestamptz, text)")


@dataclass(frozen=True)
class Trio:
    """Views of up to three grains over the same measures."""

    metric: str
    """Whose rows they are made of, and whose retention counts."""
    stem: str
    minute: str
    grains: tuple[Grain, ...] = GRAINS
    computed: bool = False
    """Whether the views compute what they show, so that it takes long to plan a query of them."""
    seams: tuple[Seam, ...] = ()
    """Where no window of a grain is, since two versions of different zones meet: finer ones are read there."""

    @property
    def function(self) -> str:
        """Its name in schema `metrics`."""
        return f"{self.stem}_range"

    def view(self, grain: Grain) -> str:
        """The view of a grain, in schema `metrics`; subsets of the dimensions have none of minutes."""
        return self.minute if grain == "minute" else f"{self.stem}_{grain}"


def of_metric(definition: Definition, seams: tuple[Seam, ...] = ()) -> Iterator[Trio]:
    """Those of the metric's own views."""
    minute = f"{definition.metric}_minute"
    grains = tuple(definition.grains)
    yield Trio(definition.metric, definition.metric, minute, grains, seams=seams)
    for name in definition.rollups:
        yield Trio(definition.metric, f"{definition.metric}_{name}", minute, grains, seams=seams)


def of_views(metric: str, views: Collection[str], seams: tuple[Seam, ...] = ()) -> Iterator[Trio]:
    """Those among the views of a metric's `views.sql`."""
    for name in views:
        stem = name.removesuffix("_minute")
        if stem != name and {f"{stem}_{grain}" for grain in GRAINS} <= {*views}:
            yield Trio(metric, stem, name, computed=True, seams=seams)


def apply(connection: Connection, trios: Collection[Trio]) -> dict[str, str]:
    """Make the functions whose views are there. Inside the caller's transaction, as the role that owns the views.

    Returns by metric why a function keeps the columns that it had: others have built on it.
    """
    refused = {}
    schemas = (VIEWS, STORE)  # the latter for what counts sets: viewers ask it by fleetgauge.distinct_count
    views = [(schema, trio.view(grain)) for trio in trios for schema in schemas for grain in trio.grains]
    found = columns_of_all(connection, views)
    for trio in trios:
        for schema in schemas:
            by_grain = {grain: found[schema, trio.view(grain)] for grain in trio.grains}
            columns = _common(by_grain)
            if columns:
                why = _replace(connection, trio, columns, schema, by_grain.get("day", ()))
                if why is not None:
                    refused[trio.metric] = why
    return refused


def dependents_beside(connection: Connection, views: Collection[str]) -> list[Dependent]:
    """What others have built on the functions beside these views."""
    return [one for name in _beside(views) for one in dependents_of_function(connection, VIEWS, name)]


def drop_beside(connection: Connection, views: Collection[str]) -> None:
    """Drop the functions beside views that are no more, for they could not be called. As the role that owns them."""
    for name in _beside(views):
        for schema in (VIEWS, STORE):
            function = sql.Identifier(schema, name)
            connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}{}").format(function, _SIGNATURE))


def create(trio: Trio, columns: Collection[ViewColumn], schema: str = VIEWS, *, by_month: bool = False) -> sql.Composed:
    """`CREATE OR REPLACE FUNCTION` of one trio; `by_month`: its days have the column `month`."""
    returned = [
        sql.SQL("{} {}").format(sql.Identifier(one.name), sql.SQL(one.type))
        for one in (
            ViewColumn("bucket_start", "timestamptz"),
            ViewColumn("window_grain", "text"),
            ViewColumn("window_start", "timestamptz"),
            *columns,
        )
    ]
    names = sql.SQL("").join(sql.SQL(", t.{}").format(sql.Identifier(one.name)) for one in columns)
    parts = [
        (_stretch(trio, schema, names, one, by_month=by_month), f"{one.begin} < {one.end}") for one in _stretches(trio)
    ]
    return sql.SQL(
        "CREATE OR REPLACE FUNCTION {} (timestamptz, timestamptz, text DEFAULT 'day') RETURNS TABLE ({})"
        " STABLE PARALLEL SAFE {} AS {}"
    ).format(
        sql.Identifier(schema, trio.function),
        sql.SQL(", ").join(returned),
        # By default the first five calls of a session are planned one by one, and maybe all.
        sql.SQL("LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan" if trio.computed else "LANGUAGE sql"),
        sql.Literal((_block if trio.computed else _query)(trio, parts).as_string(None)),
    )


def _query(trio: Trio, parts: Sequence[_Part]) -> sql.Composed:
    """All stretches as one query."""
    return sql.SQL(
        "WITH e AS MATERIALIZED (SELECT r.*, k.tz"
        " FROM fleetgauge.range_edges({metric}, $1, $2, fleetgauge.bucket_grain($3)) AS r,"
        " fleetgauge.range_kept({metric}, $1) AS k) {selects}"
    ).format(metric=sql.Literal(trio.metric), selects=sql.SQL(" UNION ALL ").join(select for select, _ in parts))


def _block(trio: Trio, parts: Sequence[_Part]) -> sql.Composed:
    """Each stretch that is not empty as a query of its own."""
    asked = [
        sql.SQL(" IF {} THEN RETURN QUERY {}; END IF;").format(sql.SQL(condition), select)
        for select, condition in parts
    ]
    return sql.SQL(
        "#variable_conflict use_column\nDECLARE e record; BEGIN SELECT r.*, k.tz, b.wish, b.width, {origin} INTO e"
        " FROM (SELECT fleetgauge.bucket_grain($3) AS wish, fleetgauge.bucket_width($3) AS width) AS b,"
        " fleetgauge.range_edges({metric}, $1, $2, b.wish) AS r, fleetgauge.range_kept({metric}, $1) AS k;{asked} END"
    ).format(metric=sql.Literal(trio.metric), asked=sql.SQL("").join(asked), origin=_ORIGIN)


@dataclass(frozen=True)
class _Stretch:
    """Time that rows of one grain are read of; its ends are SQL of the edges `e`."""

    grain: Grain
    begin: str
    end: str
    seam: Seam | None = None
    """What these rows stand in for; None: they lie at an edge, or in the middle."""
    within: str = ""
    """What else must be true, where anything must, with `{days_begin}` and `{days_end}`."""


def _stretches(trio: Trio) -> Iterator[_Stretch]:
    for grain, begin, end in _PARTS:
        if grain in trio.grains:
            yield _Stretch(grain, f"e.{begin}", f"e.{end}")
    for seam in trio.seams:
        if seam.grain == "day" and "hour" in trio.grains:
            yield from (_inside(seam, "hour", span) for span in seam.hours)
        if "minute" not in trio.grains:
            continue
        yield from (_inside(seam, "minute", span) for span in seam.minutes)
        for since, until in seam.edge:
            read = f"e.days_begin <= {_at(seam.begin)} AND e.days_end >= {_at(seam.begin)}"
            end = f"CASE WHEN {read} THEN least(e.hours_end, {_at(until)}) ELSE {_at(since)} END"
            yield _Stretch("minute", _at(since), end, seam)


def _inside(seam: Seam, grain: Grain, span: Span) -> _Stretch:
    """Inside the seam: hours instead of days, or, beside the days, minutes instead of hours."""
    begin, end = _at(span[0]), _at(span[1])
    within = "" if seam.grain == "day" else "(t.window_start < {days_begin} OR t.window_start >= {days_end})"
    many = f"{seam.grain}s"
    return _Stretch(grain, f"greatest(e.{many}_begin, {begin})", f"least(e.{many}_end, {end})", seam, within)


def _at(instant: datetime) -> str:
    return sql.Literal(instant).as_string(None)


def _stretch(trio: Trio, schema: str, names: sql.Composable, one: _Stretch, *, by_month: bool) -> sql.Composed:
    """Its rows."""
    conditions = f"t.window_start >= {_of_edges(trio, one.begin)} AND t.window_start < {_of_edges(trio, one.end)}"
    if by_month and one.grain == "day":
        first = _of_edges(trio, "date_trunc('month', e.days_begin AT TIME ZONE e.tz)::date")
        conditions += f" AND t.month >= {first} AND t.month < {_of_edges(trio, 'e.days_end AT TIME ZONE e.tz')}"
    if one.within:
        edges = {name: _of_edges(trio, f"e.{name}") for name in ("days_begin", "days_end")}
        conditions += f" AND {one.within.format_map(edges)}"
    return sql.SQL("SELECT {}, {}::text, t.window_start{} FROM {} AS t WHERE {}").format(
        sql.SQL(_bucket(trio, one)),
        sql.Literal(one.grain),
        names,
        sql.Identifier(schema, trio.view(one.grain)),
        sql.SQL(conditions),
    )


def _of_edges(trio: Trio, expression: str) -> str:
    """An expression of the edges and the zone, which PL/pgSQL has in a variable."""
    return f"({expression})" if trio.computed else f"(SELECT {expression} FROM e)"  # noqa: S608 (of constants)


def _bucket(trio: Trio, one: _Stretch) -> str:
    """The window of the grain in use that a row lies in, or of several of them the first one's.

    The planner takes the branch that the third argument, a constant, asks for; a plain grain costs nothing more. As
    `fleetgauge.bucket_start`, which stays a call for each row where its arguments are subqueries.
    """
    wish, width, quick = "fleetgauge.bucket_grain($3)", "fleetgauge.bucket_width($3)", ""
    if trio.computed:
        wish, width = "e.wish", "e.width"
    window, zone = "t.window_start", _of_edges(trio, "e.tz")
    stands_for = one.grain
    if one.seam is not None:
        window, stands_for = _at(one.seam.begin), one.seam.grain
    if stands_for != "day":
        used, first, last = (_of_edges(trio, f"e.{name}") for name in ("grain", "first_bucket", "last_bucket"))
        window = f"CASE WHEN {used} = '{stands_for}' THEN {window} WHEN {window} >= {last} THEN {last} ELSE {first} END"
    if trio.computed:
        quick = f" WHEN e.origin IS NOT NULL THEN date_bin({width}, {window}, e.origin)"
    return (
        f"CASE WHEN {wish} = $3 THEN {window} WHEN {wish} = 'minute'"
        f" THEN date_bin({width}, {window}, timestamptz '2001-01-01 00:00+00')"
        f"{quick} ELSE date_bin({width}, {window} AT TIME ZONE {zone}, timestamp '2001-01-01') AT TIME ZONE {zone} END"
    )


def _beside(views: Collection[str]) -> list[str]:
    stems = {view.removesuffix(f"_{grain}") for view in views for grain in GRAINS if view.endswith(f"_{grain}")}
    return sorted(f"{stem}_range" for stem in stems)


def _common(by_grain: Mapping[Grain, Sequence[ViewColumn]]) -> list[ViewColumn]:
    """What views of all grains have, in the order of the hours'; none where a view is missing."""
    types = [{one.name: one.type for one in columns} for columns in by_grain.values()]
    return [
        one
        for one in by_grain["hour" if "hour" in by_grain else "day"]
        if one.name not in _OWN and all(one.type == known.get(one.name) for known in types)
    ]


def _replace(
    connection: Connection, trio: Trio, columns: Collection[ViewColumn], schema: str, days: Sequence[ViewColumn]
) -> str | None:
    name = sql.Identifier(schema, trio.function)
    statement = create(trio, columns, schema, by_month=any(one.name == "month" and one.type == "date" for one in days))
    try:
        with connection.transaction():
            connection.execute(statement)
    except errors.InvalidFunctionDefinition:  # other columns than it has
        found = dependents_of_function(connection, schema, trio.function)
        if found:
            return (
                f"function {schema}.{trio.function} keeps its columns, for these hang on it: "
                f"{'; '.join(map(str, found))}; drop them, run fleetgauge migrate and make them again"
            )
        connection.execute(sql.SQL("DROP FUNCTION {}{}").format(name, _SIGNATURE))
        connection.execute(statement)
    connection.execute(
        sql.SQL("COMMENT ON FUNCTION {}{} IS {}").format(
            name,
            _SIGNATURE,
            sql.Literal(
                "Rows from an instant until before another, to the minute; bucket_start is the window of the grain "
                "(day, hour or minute) that a row lies in, or of several (5 minutes, 6 hours, 7 days) the first one's."
            ),
        )
    )
    if schema == STORE:
        return None
    connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {}{} TO {}").format(name, _SIGNATURE, sql.Identifier(VIEWER)))
    return None
