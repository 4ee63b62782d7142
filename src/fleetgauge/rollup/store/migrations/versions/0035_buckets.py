"""Charts of few and even points: ranges in buckets of several windows, and how sure a share of few events is."""

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

# `make_interval`, since to cast a text to an interval is not immutable and would keep these from being inlined.
WIDTH = """
CREATE FUNCTION fleetgauge.bucket_width(bucket text) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN bucket IN ('minute', 'hour', 'day') THEN make_interval(
        days => (bucket = 'day')::integer, hours => (bucket = 'hour')::integer, mins => (bucket = 'minute')::integer)
    WHEN bucket ~ '^[1-9][0-9]{0,3} minutes$' THEN make_interval(mins => split_part(bucket, ' ', 1)::integer)
    WHEN bucket ~ '^[1-9][0-9]{0,3} hours$' THEN make_interval(hours => split_part(bucket, ' ', 1)::integer)
    WHEN bucket ~ '^[1-9][0-9]{0,3} days$' THEN make_interval(days => split_part(bucket, ' ', 1)::integer)
END
"""
# What is no bucket stays as it is, and `range_edges` refuses it.
GRAIN = """
CREATE FUNCTION fleetgauge.bucket_grain(bucket text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN bucket IN ('minute', 'hour', 'day') THEN bucket
    WHEN fleetgauge.bucket_width(bucket) IS NULL THEN bucket
    ELSE rtrim(split_part(bucket, ' ', 2), 's')
END
"""
# Hours and days are counted on the zone's own clock, from a Monday's midnight, so that a bucket of hours ends with its
# day and one of seven days is a week; minutes on the world's, which has no hour twice.
START = """
CREATE FUNCTION fleetgauge.bucket_start(at timestamptz, bucket text, tz text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE fleetgauge.bucket_grain(bucket)
    WHEN 'minute' THEN date_bin(fleetgauge.bucket_width(bucket), at, timestamptz '2001-01-01 00:00+00')
    ELSE date_bin(fleetgauge.bucket_width(bucket), at AT TIME ZONE tz, timestamp '2001-01-01') AT TIME ZONE tz
END
"""
# As `fleetgauge.reports.proportions.wilson` with z = 1.96.
WILSON = """
CREATE FUNCTION fleetgauge.wilson(part numeric, whole numeric, OUT low float8, OUT high float8)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        CASE WHEN whole > 0 THEN CASE WHEN part = 0 THEN 0 ELSE greatest(0, (c.centre - c.half) / c.scale) END END,
        CASE WHEN whole > 0 THEN CASE WHEN part = whole THEN 1 ELSE least(1, (c.centre + c.half) / c.scale) END END
    FROM (
        SELECT s.share + s.square / (2 * s.n) AS centre, 1 + s.square / s.n AS scale,
            sqrt(s.square * (s.share * (1 - s.share) / s.n + s.square / (4 * s.n * s.n))) AS half
        FROM (
            SELECT (part / nullif(whole, 0))::float8 AS share, nullif(whole, 0)::float8 AS n, (1.96 * 1.96)::float8
                AS square
        ) AS s
    ) AS c;
END
"""

COMMENTS = (
    "COMMENT ON FUNCTION fleetgauge.bucket_width IS 'How long a bucket is: minute, hour, day, or several: 5 minutes,"
    " 6 hours, 7 days. NULL of anything else.'",
    "COMMENT ON FUNCTION fleetgauge.bucket_grain IS 'The grain that a bucket is made of.'",
    "COMMENT ON FUNCTION fleetgauge.bucket_start IS 'Where the bucket begins that holds an instant; hours and days on"
    " the zone''s own clock, seven days from a Monday.'",
    "COMMENT ON FUNCTION fleetgauge.wilson IS 'The 95 % interval of Wilson of the share part / whole.'",
)


def upgrade() -> None:
    """Functions alone; `migrate` then makes the views' own functions anew, which call them."""
    for statement in (WIDTH, GRAIN, START, WILSON, *COMMENTS):
        op.get_bind().exec_driver_sql(statement.replace("%", "%%"))


def downgrade() -> None:
    """The views' own functions call these and are made anew by an older version's `migrate`."""
    for name in ("wilson", "bucket_start", "bucket_grain", "bucket_width"):
        op.execute(f"DROP FUNCTION fleetgauge.{name}")
