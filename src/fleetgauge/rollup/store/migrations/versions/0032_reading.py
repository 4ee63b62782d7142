"""What there is to read, for those who have no repository: metrics, dimensions and measures as views."""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

# A stem is what stands before `_minute`, `_hour`, `_day` and `_range`. What the range function of a stem reads the
# retention of is the metric whose rows it is made of; the function itself says so, and cannot be out of date. A stem of
# no metric and of no subset of its dimensions is one of `views.sql`.
_SHOWN = """
WITH shown AS (
    SELECT DISTINCT ON (v.metric) v.metric, v.version, v.definition
    FROM fleetgauge.metric_version AS v
    WHERE v.published_at IS NOT NULL AND v.definition IS NOT NULL
    ORDER BY v.metric, v.published_at DESC
), ranged AS (
    SELECT left(p.proname, -6)::text AS stem, substring(p.prosrc FROM 'range_edges\\(''([a-z0-9_]+)''') AS metric,
        to_regclass(format('metrics.%I', left(p.proname, -6) || '_day')) AS days
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'metrics'::regnamespace AND p.proname LIKE '%\\_range'
        AND p.proargtypes = '1184 1184 25'::oidvector
), readable AS (
    SELECT r.stem AS name, r.days, r.stem <> s.metric AS derived, s.metric, s.version, s.definition
    FROM ranged AS r INNER JOIN shown AS s USING (metric)
    WHERE NOT EXISTS (
        SELECT FROM jsonb_object_keys(s.definition -> 'rollups') AS k WHERE r.stem = s.metric || '_' || k)
), dimension AS (
    SELECT r.name, a.attname::text AS dimension, a.attnum AS position,
        r.definition #>> ARRAY['dimensions', a.attname, 'description'] AS description,
        (r.definition #>> ARRAY['dimensions', a.attname, 'limit'])::integer AS value_limit
    FROM readable AS r INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.days AND a.attnum > 0
    WHERE NOT a.attisdropped AND CASE WHEN r.derived THEN a.atttypid = 'text'::regtype AND a.attname <> 'version'
        ELSE r.definition -> 'dimensions' ? a.attname END
)
"""

METRIC = f"""
CREATE VIEW metrics.metric AS {_SHOWN}
SELECT r.name, r.metric, r.derived,
    CASE WHEN r.derived THEN obj_description(r.days) ELSE r.definition ->> 'description' END AS description,
    r.definition ->> 'owner' AS owner, r.definition ->> 'source' AS source,
    coalesce(r.definition ->> 'time_zone', 'Asia/Seoul') AS time_zone,
    coalesce((SELECT array_agg(d.dimension ORDER BY d.position) FROM dimension AS d WHERE d.name = r.name), '{{}}')
        AS dimensions,
    CASE WHEN NOT r.derived THEN (
        SELECT jsonb_object_agg(r.metric || '_' || s.key, s.value)
        FROM jsonb_each(r.definition -> 'rollups') AS s
        INNER JOIN ranged AS g ON g.stem = r.metric || '_' || s.key) END AS subsets,
    (r.definition #>> '{{privacy,k}}')::integer AS least_persons,
    (SELECT upper(c) FROM unnest(l.closed) AS c ORDER BY c LIMIT 1) AS final_until,
    greatest(
        (SELECT max(upper(u)) FROM unnest(l.unavailable) AS u WHERE lower_inf(u)),
        fleetgauge.window_end(
            l.beat_at - (r.definition ->> 'source_kept')::interval
                + coalesce((r.definition #>> '{{interval,longest}}')::interval, '0'),
            'day', coalesce(r.definition ->> 'time_zone', 'Asia/Seoul'))) AS frozen_before,
    r.version
FROM readable AS r
LEFT JOIN LATERAL (
    SELECT g.* FROM fleetgauge.ledger AS g WHERE g.metric = r.metric AND g.version = r.version
        AND coalesce(r.definition -> 'grains' ? g.grain, true)
    ORDER BY array_position(ARRAY['minute', 'hour', 'day'], g.grain) LIMIT 1) AS l ON true
ORDER BY r.name
"""  # noqa: S608 (of constants)

DIMENSION = f"""
CREATE VIEW metrics.dimension AS {_SHOWN}
SELECT d.name, d.dimension, d.position, coalesce(nullif(d.description, ''), col_description(r.days, d.position)) AS
    description, d.value_limit
FROM dimension AS d INNER JOIN readable AS r USING (name) ORDER BY d.name, d.position
"""  # noqa: S608

# Of derived views what is whole or numeric adds up: a range function reads days, hours and minutes of them together.
MEASURE = f"""
CREATE VIEW metrics.measure AS {_SHOWN}, found AS (
    SELECT r.name, r.days, r.derived, a.attname::text AS measure, a.attnum AS position,
        format_type(a.atttypid, a.atttypmod) AS type, r.definition -> 'measures' -> (a.attname::text) AS said
    FROM readable AS r INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.days AND a.attnum > 0
    WHERE NOT a.attisdropped AND CASE WHEN r.derived THEN a.atttypid IN ('bigint'::regtype, 'numeric'::regtype)
        ELSE r.definition -> 'measures' ? a.attname END
), kinds AS (
    SELECT f.*, coalesce(f.said ->> 'agg', 'sum') AS aggregate FROM found AS f
)
SELECT k.name, k.measure, k.position, k.aggregate, k.type,
    coalesce(nullif(k.said ->> 'description', ''), col_description(k.days, k.position)) AS description,
    coalesce(nullif(k.said ->> 'label', ''), replace(upper(left(w.words, 1)) || substr(w.words, 2), '_', ' ')) AS label,
    coalesce(k.said ->> 'unit', CASE WHEN k.aggregate = 'ratio' THEN 'ratio' WHEN k.aggregate = 'duration' THEN 's'
        WHEN k.aggregate IN ('count', 'distinct') THEN 'count' ELSE coalesce(w.unit, 'count') END) AS unit,
    k.said ->> 'numerator' AS numerator, k.said ->> 'denominator' AS denominator,
    CASE k.aggregate
        WHEN 'count' THEN format('sum(%I)', k.measure)
        WHEN 'sum' THEN format('sum(%I)', k.measure)
        WHEN 'duration' THEN format('sum(%I)', k.measure)
        WHEN 'min' THEN format('min(%I)', k.measure)
        WHEN 'max' THEN format('max(%I)', k.measure)
        WHEN 'ratio' THEN format('%s(%I)::float8 / nullif(%s(%I), 0)',
            (SELECT CASE WHEN f.said ->> 'agg' IN ('min', 'max') THEN f.said ->> 'agg' ELSE 'sum' END
                FROM found AS f WHERE f.name = k.name AND f.measure = k.said ->> 'numerator'),
            k.said ->> 'numerator',
            (SELECT CASE WHEN f.said ->> 'agg' IN ('min', 'max') THEN f.said ->> 'agg' ELSE 'sum' END
                FROM found AS f WHERE f.name = k.name AND f.measure = k.said ->> 'denominator'),
            k.said ->> 'denominator')
        WHEN 'percentile' THEN format('fleetgauge.quantile(fleetgauge.sketch_merge(%I), 0.95)', k.measure)
        WHEN 'tally' THEN format('fleetgauge.tally_quantile(fleetgauge.tally_merge(%I), 0.95)', k.measure)
        WHEN 'distinct' THEN format('fleetgauge.distinct_count(stem, %L, since, until)', k.measure)
        WHEN 'last' THEN format('(array_agg(%I ORDER BY %I DESC NULLS LAST))[1]', k.measure, k.measure || '_at')
    END AS over_rows
FROM kinds AS k CROSS JOIN LATERAL (
    SELECT CASE WHEN k.measure ~ '_(krw|ms|s|m|percent)$' THEN regexp_replace(k.measure, '_[a-z]+$', '')
            ELSE k.measure END AS words,
        (SELECT u.unit FROM (VALUES ('_krw', 'KRW'), ('_ms', 'ms'), ('_s', 's'), ('_m', 'm'), ('bytes', 'bytes'),
            ('_percent', 'percent')) AS u (ending, unit)
        WHERE right(k.measure, length(u.ending)) = u.ending LIMIT 1) AS unit) AS w
ORDER BY k.name, k.position
"""  # noqa: S608

BLOCKED = """
CREATE VIEW metrics.blocked AS
SELECT b.metric, b.window_start, count(*) AS cells, min(b.since) AS since
FROM fleetgauge.blocked AS b
WHERE b.version = (SELECT v.version FROM fleetgauge.metric_version AS v
    WHERE v.metric = b.metric AND v.published_at IS NOT NULL ORDER BY v.published_at DESC LIMIT 1)
GROUP BY b.metric, b.window_start
"""

COMMENTS = {
    "metric": {
        "": "What can be read: a row for each metric, and for each family of views that a views.sql derives from one.",
        "name": "What its views and its function are called before _minute, _hour, _day and _range.",
        "metric": "The metric whose rows it is made of: its own name, but for derived views.",
        "derived": "Whether its views come of views.sql.",
        "description": "What it says.",
        "owner": "The team to ask.",
        "source": "Where its rows come from.",
        "time_zone": "IANA name; days are those of this zone.",
        "dimensions": "What its numbers are split by.",
        "subsets": "Views merged already: their name before the grain, and the dimensions that they keep.",
        "least_persons": "Numbers about fewer persons are kept back; NULL: none are.",
        "final_until": "Minutes before this instant do not change any more, but by a restatement.",
        "frozen_before": "Windows before this instant stay as they are: their source has expired.",
        "version": "The version of the definition that is shown.",
    },
    "dimension": {
        "": "What numbers are split by.",
        "name": "As metrics.metric.",
        "dimension": "The column of its views.",
        "position": "Of the column in the days' view.",
        "description": "What it means.",
        "value_limit": "How many distinct values have rows of their own; the rest is counted as other.",
    },
    "measure": {
        "": "What is measured, and how it is read over several rows.",
        "name": "As metrics.metric.",
        "measure": "The column of its views.",
        "position": "Of the column in the days' view.",
        "aggregate": "count, sum, min, max, ratio, percentile (a sketch), tally (exact counts by value), distinct,"
        " last, or duration.",
        "type": "Of the column: bigint[] is a sketch or a tally.",
        "description": "What it means, with its unit.",
        "label": "A few words for titles.",
        "unit": "What it is counted in: count, ratio (1 is the whole), percent, a currency, s, ms, bytes, m, m/s.",
        "numerator": "Of a ratio: the measure above the line.",
        "denominator": "Of a ratio: the measure below it.",
        "over_rows": "SQL that reads it over several windows or dimension values.",
    },
    "blocked": {
        "": "Minutes in which cells keep an old row, for their new one broke a check.",
        "metric": "Whose.",
        "window_start": "The minute.",
        "cells": "How many combinations of dimension values; the whole minute counts as one.",
        "since": "Since when.",
    },
}


def upgrade() -> None:
    """Views over what only writers read, with what readers may know of it."""
    for statement in (METRIC, DIMENSION, MEASURE, BLOCKED):
        op.get_bind().exec_driver_sql(statement.replace("%", "%%"))
    for view, said in COMMENTS.items():
        for column, text in said.items():
            what = f"COLUMN metrics.{view}.{column}" if column else f"VIEW metrics.{view}"
            quoted = text.replace("'", "''")
            op.execute(f"COMMENT ON {what} IS '{quoted}'")
        op.execute(f"GRANT SELECT ON metrics.{view} TO fleetgauge_viewer, fleetgauge_writer")


def downgrade() -> None:
    """Drop them."""
    for view in COMMENTS:
        op.execute(f"DROP VIEW metrics.{view}")
