"""Roles, schemas, the ledger, and the functions that cut time and read sketches."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the whole cluster and may be there from another database of it. The owner becomes a member of the
# writer, which owns every metric table and view, so that a migration and a pass may both replace them.
ROLES = """
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['fleetgauge_writer', 'fleetgauge_viewer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this cluster was quicker
            END;
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, 'fleetgauge_writer', 'USAGE') THEN
        EXECUTE format('GRANT fleetgauge_writer TO %I', current_user);
    END IF;
END
$$
"""

SCHEMAS = (
    "CREATE SCHEMA store",
    "CREATE SCHEMA metrics",
    "GRANT USAGE ON SCHEMA fleetgauge, metrics TO fleetgauge_writer, fleetgauge_viewer",
    "GRANT USAGE, CREATE ON SCHEMA store, metrics TO fleetgauge_writer",
    # For the tables of later migrations; a viewer gets none of this schema's tables, only its functions.
    "ALTER DEFAULT PRIVILEGES IN SCHEMA fleetgauge GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO fleetgauge_writer",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA fleetgauge GRANT USAGE, SELECT ON SEQUENCES TO fleetgauge_writer",
)

TABLES = (
    """
    CREATE TABLE fleetgauge.metric_version (
        metric text NOT NULL,
        version text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        published_at timestamptz,
        PRIMARY KEY (metric, version)
    )
    """,
    """
    COMMENT ON TABLE fleetgauge.metric_version IS
        'Versions of a definition that have tables; the one published last feeds the views.'
    """,
    """
    CREATE TABLE fleetgauge.ledger (
        metric text NOT NULL,
        version text NOT NULL,
        grain text NOT NULL CHECK (grain IN ('minute', 'hour', 'day')),
        done tstzmultirange NOT NULL DEFAULT '{}',
        closed tstzmultirange NOT NULL DEFAULT '{}',
        cursor_at timestamptz,
        beat_at timestamptz,
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (metric, version, grain),
        FOREIGN KEY (metric, version) REFERENCES fleetgauge.metric_version ON DELETE CASCADE
    )
    """,
    """
    COMMENT ON TABLE fleetgauge.ledger IS
        'What is computed (done) and final (closed). On minute: every change of the source before cursor_at is in the
        tables.'
    """,
    """
    CREATE TABLE fleetgauge.blocked (
        metric text NOT NULL,
        version text NOT NULL,
        window_start timestamptz NOT NULL,
        reason text NOT NULL,
        since timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (metric, version, window_start),
        FOREIGN KEY (metric, version) REFERENCES fleetgauge.metric_version ON DELETE CASCADE
    )
    """,
    """
    COMMENT ON TABLE fleetgauge.blocked IS
        'Minutes whose new rows broke a check; they keep their old rows and are tried again.'
    """,
    """
    CREATE TABLE fleetgauge.dimension_value (
        metric text NOT NULL,
        version text NOT NULL,
        dimension text NOT NULL,
        value text NOT NULL,
        admitted_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (metric, version, dimension, value),
        FOREIGN KEY (metric, version) REFERENCES fleetgauge.metric_version ON DELETE CASCADE
    )
    """,
    """
    COMMENT ON TABLE fleetgauge.dimension_value IS
        'Values kept apart, append-only; what is not here became `other` for good.'
    """,
)

# Offsets of a zone change on whole seconds, and at most once in an hour. An hour is the interval between consecutive
# local full hours or offset changes, so that a local day is a union of hours in every zone.
TIME = (
    """
    CREATE FUNCTION fleetgauge.utc_offset(at timestamptz, tz text) RETURNS interval
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (at AT TIME ZONE tz) - (at AT TIME ZONE 'UTC')
    """,
    """
    CREATE FUNCTION fleetgauge.offset_change(after timestamptz, upto timestamptz, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        WITH RECURSIVE search(lo, hi) AS (
            SELECT date_bin('1 second', after, 'epoch'), date_bin('1 second', upto, 'epoch')
            UNION ALL
            SELECT CASE WHEN at_end THEN lo ELSE mid END, CASE WHEN at_end THEN mid ELSE hi END
            FROM (
                SELECT lo, hi, mid, fleetgauge.utc_offset(mid, tz) = fleetgauge.utc_offset(hi, tz) AS at_end
                FROM (
                    SELECT lo, hi, date_bin('1 second', lo + (hi - lo) / 2, 'epoch') AS mid
                    FROM search
                    WHERE hi - lo > interval '1 second'
                ) AS halves
            ) AS judged
        )
        SELECT hi FROM search ORDER BY hi - lo LIMIT 1;
    END
    """,
    """
    CREATE FUNCTION fleetgauge.hour_start(at timestamptz, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT CASE
            WHEN fleetgauge.utc_offset(full_hour, tz) = fleetgauge.utc_offset(at, tz) THEN full_hour
            ELSE fleetgauge.offset_change(full_hour, at, tz)
        END
        FROM (SELECT at - ((at AT TIME ZONE tz) - date_trunc('hour', at AT TIME ZONE tz)) AS full_hour) AS candidate
    )
    """,
    """
    CREATE FUNCTION fleetgauge.hour_end(at timestamptz, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT CASE
            WHEN fleetgauge.utc_offset(next_hour - interval '1 second', tz) = fleetgauge.utc_offset(at, tz) THEN
            next_hour ELSE fleetgauge.offset_change(at, next_hour - interval '1 second', tz)
        END
        FROM (
            SELECT at - ((at AT TIME ZONE tz) - date_trunc('hour', at AT TIME ZONE tz)) + interval '1 hour' AS next_hour
        ) AS candidate
    )
    """,
    # A local midnight that happens twice counts from the first, one that is skipped from the first instant after it.
    """
    CREATE FUNCTION fleetgauge.date_start(local date, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN early < late AND (early AT TIME ZONE tz) = local::timestamp THEN early ELSE late END
        FROM (
            SELECT
                late,
                (local::timestamp AT TIME ZONE 'UTC') - fleetgauge.utc_offset(late - interval '3 hours', tz) AS early
            FROM (SELECT local::timestamp AT TIME ZONE tz AS late) AS plain
        ) AS candidates
    )
    """,
    """
    CREATE FUNCTION fleetgauge.day_start(at timestamptz, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN fleetgauge.date_start((at AT TIME ZONE tz)::date, tz)
    """,
    """
    CREATE FUNCTION fleetgauge.day_end(at timestamptz, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN fleetgauge.date_start((at AT TIME ZONE tz)::date + 1, tz)
    """,
    """
    CREATE FUNCTION fleetgauge.window_start(at timestamptz, grain text, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE grain
        WHEN 'minute' THEN date_bin('1 minute', at, 'epoch')
        WHEN 'hour' THEN fleetgauge.hour_start(at, tz)
        WHEN 'day' THEN fleetgauge.day_start(at, tz)
    END
    """,
    """
    CREATE FUNCTION fleetgauge.window_end(at timestamptz, grain text, tz text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE grain
        WHEN 'minute' THEN date_bin('1 minute', at, 'epoch') + interval '1 minute'
        WHEN 'hour' THEN fleetgauge.hour_end(at, tz)
        WHEN 'day' THEN fleetgauge.day_end(at, tz)
    END
    """,
    """
    CREATE FUNCTION fleetgauge.whole_windows(spans tstzmultirange, grain text, tz text) RETURNS tstzmultirange
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT coalesce(range_agg(tstzrange(first, last)), '{}')
        FROM (
            SELECT
                CASE
                    WHEN fleetgauge.window_start(lower(span), grain, tz) = lower(span) THEN lower(span)
                    ELSE fleetgauge.window_end(lower(span), grain, tz)
                END AS first,
                fleetgauge.window_start(upper(span), grain, tz) AS last
            FROM unnest(spans) AS span
        ) AS inner_part
        WHERE first IS NULL OR last IS NULL OR first < last;
    END
    """,
    """
    COMMENT ON FUNCTION fleetgauge.whole_windows IS 'The part of the spans that consists of complete windows; open ends
    stay open.'
    """,
)

# A sketch is {bucket, …, count, …}: its buckets by rising number, then their counts in the same order. DDSketch
# (Masson, Rim, Lee 2019, doi:10.14778/3352063.3352135): x > 0 lies in bucket k = ceil(ln x / ln gamma) and is
# estimated as 2 gamma^k / (gamma + 1), off by at most (gamma - 1) / (gamma + 1) = 0.0099, which leaves room below 1 %
# for the rounding of logarithms. Stored bucket: 100000 + k, for negative values the same with a minus, for zero 0.
# PL/pgSQL, which every Postgres has, since it starts faster than an SQL function and these run once a row. Twin:
# `fleetgauge.rollup.sketches.sketch`.
SKETCHES = (
    "CREATE DOMAIN fleetgauge.sketch AS bigint[]",
    """
    CREATE FUNCTION fleetgauge.sketch_fold(parts fleetgauge.sketch[]) RETURNS fleetgauge.sketch
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        IF cardinality(parts) = 1 THEN
            RETURN parts[1];
        END IF;
        RETURN (
            SELECT coalesce(array_agg(bucket ORDER BY bucket) || array_agg(n ORDER BY bucket), '{}')
            FROM (
                SELECT bucket, sum(n)::bigint AS n
                FROM unnest(parts) AS part,
                    unnest(part[1:cardinality(part) / 2], part[cardinality(part) / 2 + 1:]) AS pair(bucket, n)
                GROUP BY bucket
            ) AS buckets
        );
    END
    $$
    """,
    """
    CREATE AGGREGATE fleetgauge.sketch_merge(fleetgauge.sketch) (
        SFUNC = array_append, STYPE = fleetgauge.sketch[], FINALFUNC = fleetgauge.sketch_fold, INITCOND = '{}',
        PARALLEL = SAFE
    )
    """,
    """
    CREATE FUNCTION fleetgauge.sketch_value(bucket bigint) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN sign(bucket) * exp(least(greatest((abs(bucket) - 100000) * LN_GAMMA, -708), 709)) * SCALE
    """,
    """
    CREATE FUNCTION fleetgauge.sketch_count(sketch fleetgauge.sketch) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT coalesce(sum(n), 0)::bigint FROM unnest(sketch[cardinality(sketch) / 2 + 1:]) AS n;
    END
    """,
    """
    CREATE FUNCTION fleetgauge.quantile(sketch fleetgauge.sketch, q double precision) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    DECLARE
        half int := cardinality(sketch) / 2;
        rank numeric := 0;
    BEGIN
        FOR i IN 1..half LOOP
            rank := rank + sketch[half + i];
        END LOOP;
        rank := greatest(1, ceil(q::numeric * rank));
        FOR i IN 1..half LOOP
            rank := rank - sketch[half + i];
            IF rank <= 0 THEN
                RETURN fleetgauge.sketch_value(sketch[i]);
            END IF;
        END LOOP;
        RETURN NULL;
    END
    $$
    """,
    """
    COMMENT ON FUNCTION fleetgauge.quantile IS
        'Nearest-rank quantile of a percentile measure, within 1 %; of several rows: quantile(sketch_merge(measure),
        0.95).'
    """,
)


def upgrade() -> None:
    from fleetgauge.rollup.sketches.sketch import GAMMA, LN_GAMMA

    op.execute(ROLES)
    for statement in (*SCHEMAS, *TABLES, *TIME):
        op.execute(statement)
    scale = f"{2 / (GAMMA + 1)!r}::double precision"
    for statement in SKETCHES:
        op.execute(statement.replace("LN_GAMMA", f"{LN_GAMMA!r}::double precision").replace("SCALE", scale))
