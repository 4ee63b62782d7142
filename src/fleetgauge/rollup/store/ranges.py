"""`metrics.<stem>_range(since, until, grain)`: the rows of any range, exact to the finest grain.

Beside the views of each metric, each subset of its dimensions and each trio of derived views `…_minute`, `…_hour` and
`…_day`. It reads whole windows in the middle and finer ones at the edges, through the views, with its caller's rights.
The third argument is the grain of `bucket_start`, or several windows of one: `5 minutes`, `6 hours`, `7 days`.
A metric that has no minutes is read to whole hours or days: the ledger says of such a grain that its rows have expired.
Where days have a column `month`, the first date of the local month, a range says of which months it needs rows: days
that are computed by whole months, as what a carrier charges by SIM, cannot tell that from their time.
SQL that the planner takes apart, so that conditions reach the indexes of the tables. Its text names no object for the
catalogue, so views can be made anew beneath it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleetgauge.postgres import Connection, errors, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.store.catalogue import columns_of_all
from fleetgauge.rollup.store.dependents import Dependent, dependents_of_function
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
_MONTHS = sql.SQL(
    " AND t.month >= (SELECT date_trunc('month', e.days_begin AT TIME ZONE z.tz)::date FROM e, z)"
    " AND t.month < (SELECT e.days_end AT TIME ZONE z.tz FROM e, z)"
)
_SIGNATURE = sql.SQL("(timestamptz, timestamptz, text)")


@dataclass(frozen=True)
class Trio:
    """Views of up to three grains over the same measures."""

    metric: str
    """Whose rows they are made of, and whose retention counts."""
    stem: str
    minute: str
    grains: tuple[Grain, ...] = GRAINS

    @property
    def function(self) -> str:
        """Its name in schema `metrics`."""
        return f"{self.stem}_range"

    def view(self, grain: Grain) -> str:
        """The view of a grain, in schema `metrics`; subsets of the dimensions have none of minutes."""
        return self.minute if grain == "minute" else f"{self.stem}_{grain}"


def of_metric(definition: Definition) -> Iterator[Trio]:
    """Those of the metric's own views."""
    minute = f"{definition.metric}_minute"
    grains = tuple(definition.grains)
    yield Trio(definition.metric, definition.metric, minute, grains)
    for name in definition.rollups:
        yield Trio(definition.metric, f"{definition.metric}_{name}", minute, grains)


def of_views(metric: str, views: Collection[str]) -> Iterator[Trio]:
    """Those among the views of a metric's `views.sql`."""
    for name in views:
        stem = name.removesuffix("_minute")
        if stem != name and {f"{stem}_{grain}" for grain in GRAINS} <= {*views}:
            yield Trio(metric, stem, name)


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
    selects = [
        sql.SQL(
            "SELECT {bucket}, {grain}, t.window_start{names} FROM {view} AS t"
            " WHERE t.window_start >= (SELECT e.{begin} FROM e) AND t.window_start < (SELECT e.{end} FROM e){months}"
        ).format(
            bucket=_bucket(grain),
            grain=sql.SQL("{}::text").format(sql.Literal(grain)),
            names=names,
            view=sql.Identifier(schema, trio.view(grain)),
            begin=sql.Identifier(begin),
            end=sql.Identifier(end),
            months=_MONTHS if by_month and grain == "day" else sql.SQL(""),
        )
        for grain, begin, end in _PARTS
        if grain in trio.grains
    ]
    body = sql.SQL(
        "WITH e AS MATERIALIZED (SELECT * FROM fleetgauge.range_edges({metric}, $1, $2, fleetgauge.bucket_grain($3))),"
        " z AS MATERIALIZED (SELECT k.tz FROM fleetgauge.range_kept({metric}, $1) AS k) {selects}"
    ).format(metric=sql.Literal(trio.metric), selects=sql.SQL(" UNION ALL ").join(selects))
    return sql.SQL(
        "CREATE OR REPLACE FUNCTION {} (timestamptz, timestamptz, text DEFAULT 'day') RETURNS TABLE ({})"
        " LANGUAGE sql STABLE PARALLEL SAFE AS {}"
    ).format(sql.Identifier(schema, trio.function), sql.SQL(", ").join(returned), sql.Literal(body.as_string(None)))


def _bucket(grain: Grain) -> sql.Composable:
    """The window of the grain in use that a row lies in, or of several of them the first one's.

    The planner takes the branch that the third argument, a constant, asks for; a plain grain costs nothing more. As
    `fleetgauge.bucket_start`, which stays a call for each row where its arguments are subqueries.
    """
    window: sql.Composable = sql.SQL("t.window_start")
    if grain != "day":
        window = sql.SQL(
            "CASE WHEN (SELECT e.grain FROM e) = {} THEN t.window_start"
            " WHEN t.window_start >= (SELECT e.last_bucket FROM e) THEN (SELECT e.last_bucket FROM e)"
            " ELSE (SELECT e.first_bucket FROM e) END"
        ).format(sql.Literal(grain))
    return sql.SQL(
        "CASE WHEN fleetgauge.bucket_grain($3) = $3 THEN {window} WHEN fleetgauge.bucket_grain($3) = 'minute'"
        " THEN date_bin(fleetgauge.bucket_width($3), {window}, timestamptz '2001-01-01 00:00+00')"
        " ELSE date_bin(fleetgauge.bucket_width($3), {window} AT TIME ZONE {tz}, timestamp '2001-01-01')"
        " AT TIME ZONE {tz} END"
    ).format(window=window, tz=sql.SQL("(SELECT z.tz FROM z)"))


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
