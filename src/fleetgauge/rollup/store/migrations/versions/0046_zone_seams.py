"""Ranges over windows of several time zones: each edge is cut by the zone whose windows are shown there."""

import runpy
from pathlib import Path

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

_BEFORE = runpy.run_path(str(Path(__file__).with_name("0021_ranges.py")))

# A definition of the default zone does not name it.
_FILTER = "WHERE s.grain = 'minute' AND s.definition ? 'time_zone'"
_NAMED = "SELECT s.definition ->> 'time_zone' FROM shown"
KEPT = (
    _BEFORE["KEPT"]
    .replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
    .replace(_FILTER, "WHERE s.grain = 'minute' AND s.definition IS NOT NULL")
    .replace(_NAMED, "SELECT coalesce(s.definition ->> 'time_zone', 'Asia/Seoul') FROM shown")
)

# Viewers may not read the ledger; see range_kept.
ZONE = """
CREATE FUNCTION fleetgauge.range_zone(metric text, at timestamptz, grain text, OUT tz text, OUT until timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH shown AS (
        SELECT v.published_at, l.unavailable, coalesce(v.definition ->> 'time_zone', 'Asia/Seoul') AS zone
        FROM fleetgauge.metric_version AS v INNER JOIN fleetgauge.ledger AS l USING (metric, version)
        WHERE v.metric = range_zone.metric AND l.grain = range_zone.grain AND v.published_at IS NOT NULL
            AND v.definition IS NOT NULL
    ), chosen AS (
        SELECT s.zone, s.published_at FROM shown AS s
        ORDER BY s.unavailable @> range_zone.at, s.published_at DESC LIMIT 1
    )
    SELECT
        coalesce((SELECT c.zone FROM chosen AS c), 'Asia/Seoul'),
        coalesce((
            SELECT min(upper(u)) FROM chosen AS c, shown AS s, unnest(s.unavailable) AS u
            WHERE s.published_at > c.published_at AND s.zone <> c.zone AND u @> range_zone.at
        ), 'infinity');
END
"""

EDGES = """
CREATE OR REPLACE FUNCTION fleetgauge.range_edges(
    metric text, since timestamptz, until timestamptz, wish text,
    OUT grain text, OUT begins timestamptz, OUT hours_begin timestamptz, OUT days_begin timestamptz,
    OUT days_end timestamptz, OUT hours_end timestamptz, OUT ends timestamptz,
    OUT first_bucket timestamptz, OUT last_bucket timestamptz, OUT exact boolean
)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    first record;
    last record;
    first_hour record;
    last_hour record;
    first_day record;
    last_day record;
    from_minute CONSTANT timestamptz := fleetgauge.window_ceil(since, 'minute', 'UTC');
    to_minute CONSTANT timestamptz := greatest(from_minute, fleetgauge.window_ceil(until, 'minute', 'UTC'));
BEGIN
    IF wish NOT IN ('minute', 'hour', 'day') THEN
        RAISE EXCEPTION 'the grain of a range is %; write minute, hour or day', wish USING ERRCODE = '22023';
    END IF;
    SELECT * INTO first FROM fleetgauge.range_kept(metric, from_minute);
    SELECT * INTO last FROM fleetgauge.range_kept(metric, to_minute - interval '1 microsecond');
    SELECT * INTO first_hour FROM fleetgauge.range_zone(metric, from_minute, 'hour');
    SELECT * INTO last_hour FROM fleetgauge.range_zone(metric, to_minute - interval '1 microsecond', 'hour');
    SELECT * INTO first_day FROM fleetgauge.range_zone(metric, from_minute, 'day');
    SELECT * INTO last_day FROM fleetgauge.range_zone(metric, to_minute - interval '1 microsecond', 'day');
    grain := fleetgauge.range_grain(wish, from_minute, metric);
    begins := CASE
        WHEN from_minute >= first.minutes THEN from_minute
        WHEN from_minute >= first.hours THEN fleetgauge.window_floor(from_minute, 'hour', first_hour.tz)
        ELSE greatest(fleetgauge.window_floor(from_minute, 'day', first_day.tz), first.days)
    END;
    ends := greatest(begins, CASE
        WHEN to_minute = from_minute THEN begins
        WHEN to_minute > last.minutes THEN to_minute
        WHEN to_minute > last.hours THEN fleetgauge.window_ceil(to_minute, 'hour', last_hour.tz)
        ELSE fleetgauge.window_ceil(to_minute, 'day', last_day.tz)
    END);
    exact := begins = from_minute AND ends = to_minute;
    hours_begin := ends;
    hours_end := ends;
    IF grain <> 'minute' THEN
        hours_begin := least(fleetgauge.window_ceil(begins, 'hour', first_hour.tz), first_hour.until);
        hours_end := fleetgauge.window_floor(ends, 'hour', last_hour.tz);
        IF hours_begin >= hours_end THEN
            hours_begin := ends;
            hours_end := ends;
        END IF;
    END IF;
    days_begin := hours_end;
    days_end := hours_end;
    IF grain = 'day' THEN
        days_begin := least(fleetgauge.window_ceil(begins, 'day', first_day.tz), first_day.until);
        -- Hours of one zone need not end where a day of another begins: then they are read up to their own first day.
        IF isfinite(first_day.until) AND isfinite(days_begin) AND first_day.tz <> (
            SELECT z.tz FROM fleetgauge.range_zone(metric, days_begin - interval '1 microsecond', 'hour') AS z
        ) THEN
            days_begin := first_day.until;
        END IF;
        days_end := fleetgauge.window_floor(ends, 'day', last_day.tz);
        IF days_begin >= days_end THEN
            days_begin := hours_end;
            days_end := hours_end;
        ELSE
            hours_begin := least(hours_begin, days_begin);
            hours_end := greatest(hours_end, days_end);
        END IF;
    END IF;
    first_bucket := fleetgauge.window_floor(begins, grain, CASE grain
        WHEN 'day' THEN first_day.tz WHEN 'hour' THEN first_hour.tz ELSE first.tz END);
    last_bucket := greatest(first_bucket, fleetgauge.window_floor(ends - interval '1 microsecond', grain, CASE grain
        WHEN 'day' THEN last_day.tz WHEN 'hour' THEN last_hour.tz ELSE last.tz END));
END
$$
"""
COMMENT = (
    "COMMENT ON FUNCTION fleetgauge.range_zone IS 'In whose zone a metric''s windows of a grain are cut at an instant,"
    " and when those of a version of another zone begin.'"
)


def upgrade() -> None:
    """`migrate` then makes the views' own functions anew, which read finer windows where two zones meet."""
    for statement in (KEPT, ZONE, EDGES, COMMENT):
        op.get_bind().exec_driver_sql(statement.replace("%", "%%"))


def downgrade() -> None:
    """As they were."""
    for text in (_BEFORE["KEPT"], _BEFORE["EDGES"]):
        op.get_bind().exec_driver_sql(text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace("%", "%%"))
    op.execute("DROP FUNCTION fleetgauge.range_zone")
