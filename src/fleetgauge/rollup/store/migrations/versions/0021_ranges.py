"""Where a range of time is cut: whole days in its middle, hours at its edges, minutes at the outermost."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

CEIL = """
CREATE FUNCTION fleetgauge.window_ceil(at timestamptz, grain text, tz text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT isfinite(at) OR fleetgauge.window_start(at, grain, tz) = at THEN at
    ELSE fleetgauge.window_end(at, grain, tz)
END
"""
FLOOR = """
CREATE FUNCTION fleetgauge.window_floor(at timestamptz, grain text, tz text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN isfinite(at) THEN fleetgauge.window_start(at, grain, tz) ELSE at END
"""

# Viewers may not read the ledger; where rows have expired is told to them by this. Of the versions that the views show
# the one speaks that shows the instant; rows count as expired where they are for any of them.
KEPT = """
CREATE FUNCTION fleetgauge.range_kept(
    metric text, at timestamptz, OUT tz text, OUT minutes timestamptz, OUT hours timestamptz, OUT days timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH shown AS (
        SELECT v.published_at, v.definition, l.grain, l.kept_from, l.unavailable
        FROM fleetgauge.metric_version AS v INNER JOIN fleetgauge.ledger AS l USING (metric, version)
        WHERE v.metric = range_kept.metric AND v.published_at IS NOT NULL
    ), zone AS (
        SELECT coalesce((
            SELECT s.definition ->> 'time_zone' FROM shown AS s
            WHERE s.grain = 'minute' AND s.definition ? 'time_zone'
            ORDER BY s.unavailable @> range_kept.at, s.published_at DESC LIMIT 1
        ), 'Asia/Seoul') AS name
    )
    SELECT
        zone.name,
        coalesce(fleetgauge.window_ceil(
            (SELECT max(s.kept_from) FROM shown AS s WHERE s.grain = 'minute'), 'day', zone.name), '-infinity'),
        coalesce(fleetgauge.window_ceil(
            (SELECT max(s.kept_from) FROM shown AS s WHERE s.grain = 'hour'), 'day', zone.name), '-infinity'),
        coalesce(fleetgauge.window_ceil(
            (SELECT max(s.kept_from) FROM shown AS s WHERE s.grain = 'day'), 'day', zone.name), '-infinity')
    FROM zone;
END
"""

GRAIN = """
CREATE FUNCTION fleetgauge.range_grain(wish text, since timestamptz, VARIADIC metrics text[]) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        WHEN wish = 'minute' AND bool_and(since >= k.minutes) THEN 'minute'
        WHEN wish IN ('minute', 'hour') AND bool_and(since >= k.hours) THEN 'hour'
        ELSE 'day'
    END
    FROM unnest(metrics) AS m, fleetgauge.range_kept(m, since) AS k;
END
"""

# PL/pgSQL, since each instant is made of those before it. All ranges are half open.
EDGES = """
CREATE FUNCTION fleetgauge.range_edges(
    metric text, since timestamptz, until timestamptz, wish text,
    OUT grain text, OUT begins timestamptz, OUT hours_begin timestamptz, OUT days_begin timestamptz,
    OUT days_end timestamptz, OUT hours_end timestamptz, OUT ends timestamptz,
    OUT first_bucket timestamptz, OUT last_bucket timestamptz, OUT exact boolean
)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    first record;
    last record;
    from_minute CONSTANT timestamptz := fleetgauge.window_ceil(since, 'minute', 'UTC');
    to_minute CONSTANT timestamptz := greatest(from_minute, fleetgauge.window_ceil(until, 'minute', 'UTC'));
BEGIN
    IF wish NOT IN ('minute', 'hour', 'day') THEN
        RAISE EXCEPTION 'the grain of a range is %; write minute, hour or day', wish USING ERRCODE = '22023';
    END IF;
    SELECT * INTO first FROM fleetgauge.range_kept(metric, from_minute);
    SELECT * INTO last FROM fleetgauge.range_kept(metric, to_minute - interval '1 microsecond');
    grain := fleetgauge.range_grain(wish, from_minute, metric);
    begins := CASE
        WHEN from_minute >= first.minutes THEN from_minute
        WHEN from_minute >= first.hours THEN fleetgauge.window_floor(from_minute, 'hour', first.tz)
        ELSE greatest(fleetgauge.window_floor(from_minute, 'day', first.tz), first.days)
    END;
    ends := greatest(begins, CASE
        WHEN to_minute = from_minute THEN begins
        WHEN to_minute > last.minutes THEN to_minute
        WHEN to_minute > last.hours THEN fleetgauge.window_ceil(to_minute, 'hour', last.tz)
        ELSE fleetgauge.window_ceil(to_minute, 'day', last.tz)
    END);
    exact := begins = from_minute AND ends = to_minute;
    hours_begin := ends;
    hours_end := ends;
    IF grain <> 'minute' THEN
        hours_begin := fleetgauge.window_ceil(begins, 'hour', first.tz);
        hours_end := fleetgauge.window_floor(ends, 'hour', last.tz);
        IF hours_begin >= hours_end THEN
            hours_begin := ends;
            hours_end := ends;
        END IF;
    END IF;
    days_begin := hours_end;
    days_end := hours_end;
    IF grain = 'day' THEN
        days_begin := fleetgauge.window_ceil(begins, 'day', first.tz);
        days_end := fleetgauge.window_floor(ends, 'day', last.tz);
        IF days_begin >= days_end THEN
            days_begin := hours_end;
            days_end := hours_end;
        END IF;
    END IF;
    first_bucket := fleetgauge.window_floor(begins, grain, first.tz);
    last_bucket := greatest(first_bucket, fleetgauge.window_floor(ends - interval '1 microsecond', grain, last.tz));
END
$$
"""

SAID = """
CREATE FUNCTION fleetgauge.range_said(metric text, since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN e.exact THEN '' ELSE format(
        ' (%s to %s)', to_char(e.begins AT TIME ZONE k.tz, 'YYYY-MM-DD HH24:MI'),
        to_char(e.ends AT TIME ZONE k.tz, 'YYYY-MM-DD HH24:MI')) END
    FROM fleetgauge.range_edges(metric, since, until, 'day') AS e, fleetgauge.range_kept(metric, e.begins) AS k;
END
"""

COMMENTS = (
    "COMMENT ON FUNCTION fleetgauge.range_edges IS 'Where a range, cut to minutes, is read from which grain: minutes"
    " from begins to hours_begin and hours_end to ends, hours from there to days_begin and from days_end, days between."
    " Not exact: finer rows have expired, so whole coarser windows are read at that edge.'",
    "COMMENT ON FUNCTION fleetgauge.range_said IS 'Which stretch is summed for a range, in the metric''s time zone;"
    " empty where it is the range itself, to the minute.'",
    "COMMENT ON FUNCTION fleetgauge.range_grain IS 'The grain that is wished, or a coarser one where its rows have"
    " expired for one of the metrics.'",
)


def upgrade() -> None:
    """Functions alone; those that read a metric's views are made with the views."""
    for statement in (CEIL, FLOOR, KEPT, GRAIN, EDGES, SAID, *COMMENTS):
        op.execute(statement)


def downgrade() -> None:
    """The views' own functions call these and go with them."""
    op.execute(
        """
        DO $$
        DECLARE
            one regprocedure;
        BEGIN
            FOR one IN SELECT p.oid FROM pg_proc AS p
                WHERE p.pronamespace = 'metrics'::regnamespace AND p.proname LIKE '%\\_range'
                AND p.proargtypes::text = '1184 1184 25'
            LOOP
                EXECUTE format('DROP FUNCTION %s', one);
            END LOOP;
        END
        $$
        """
    )
    for name in ("range_said", "range_edges", "range_grain", "range_kept", "window_floor", "window_ceil"):
        op.execute(f"DROP FUNCTION fleetgauge.{name}")
