"""Viewers count different values over ranges without seeing a sketch."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# It runs with the rights of whoever owns the sketches, and reads `store.<stem>_range`, which is `metrics.<stem>_range`
# over the views with sketches. Names are looked up in the catalogue and quoted, values are compared as they are, and no
# error tells a stored value. The twins have `_k`, `_of` and `_hidden` where numbers about few persons are kept back
# (`fleetgauge.rollup.store.views`): the rows are then merged to the dimensions that are asked about, and judged as a
# view of just these dimensions is. An answer about a part of them holds none that is kept back, or several that have k
# persons together, so that no difference of answers tells one of them.
COUNT = """
CREATE FUNCTION fleetgauge.distinct_count(
    stem text, measure text, since timestamptz, until timestamptz, grain text DEFAULT 'day',
    filters jsonb DEFAULT '{}', by text[] DEFAULT '{}', whole boolean DEFAULT false)
RETURNS TABLE (bucket_start timestamptz, parts text[], estimate bigint, suppressed boolean, provisional boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation CONSTANT regclass := CASE WHEN stem <> '' THEN to_regclass(format('store.%I', stem || '_hour')) END;
    given CONSTANT jsonb := coalesce(filters, '{}');
    split CONSTANT text[] := array_remove(by, NULL);
    guarded boolean;
    name text;
    asked text := '';
    conditions text := '';
    narrowed boolean := false;
BEGIN
    PERFORM FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attrelid = relation AND c.relkind = 'v' AND a.attname = measure AND a.atttypid = 'varbit'::regtype
        AND NOT starts_with(measure, '_');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there are no views metrics.%_… with a distinct measure %', stem, measure
            USING ERRCODE = 'undefined_column';
    END IF;
    FOR name IN
        SELECT one COLLATE "C" FROM (SELECT unnest(split) UNION SELECT * FROM jsonb_object_keys(given)) AS u (one)
        ORDER BY 1
    LOOP
        IF given -> name ? '*' AND name <> ALL (split) THEN
            CONTINUE;
        END IF;
        PERFORM FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attname = name AND a.attnum > 0 AND a.atttypid = 'text'::regtype
            AND a.attname <> 'version';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'views metrics.%_… have no dimension %', stem, name USING ERRCODE = 'undefined_column';
        END IF;
        narrowed := true;
        asked := asked || format(', s.%I', name);
        IF given ? name AND NOT given -> name ? '*' THEN
            conditions := conditions
                || format(' AND s.%I = ANY (ARRAY(SELECT jsonb_array_elements_text($4 -> %L)))', name, name);
        END IF;
    END LOOP;
    guarded := EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attname = '_k');
    RETURN QUERY EXECUTE format(
        CASE WHEN guarded THEN
            'WITH cell AS ('
            '  SELECT s.bucket_start%4$s, fleetgauge.distinct_merge(s.%3$I) AS sketch,'
            '    coalesce(fleetgauge."distinct"(fleetgauge.distinct_merge(s._of)), 0) AS persons,'
            '    CASE WHEN %6$L = ANY (min(s._hidden)) THEN min(s._k) ELSE 0 END AS k,'
            '    bool_or(s.provisional) AS provisional'
            '  FROM store.%7$I($1, $2, $3) AS s GROUP BY s.bucket_start%4$s),'
            ' judged AS ('
            '  SELECT s.*, persons < k OR (min(persons) OVER (PARTITION BY s.bucket_start) < k'
            '    AND coalesce(sum(persons) OVER (PARTITION BY s.bucket_start ORDER BY persons%4$s'
            '      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < k) AS kept FROM cell AS s),'
            ' answer AS ('
            '  SELECT %1$s AS bucket_start, %2$s AS parts,'
            '    fleetgauge."distinct"(fleetgauge.distinct_merge(sketch)) AS n, max(k) AS k,'
            '    count(*) FILTER (WHERE kept) AS cells,'
            '    fleetgauge."distinct"(fleetgauge.distinct_merge(sketch) FILTER (WHERE kept)) AS among,'
            '    bool_or(provisional) AS provisional'
            '  FROM judged AS s WHERE true%5$s GROUP BY 1, 2)'
            ' SELECT a.bucket_start, a.parts, CASE WHEN NOT h.kept THEN a.n END, h.kept, a.provisional FROM answer AS a'
            ' CROSS JOIN LATERAL (VALUES ('
            '  coalesce(a.n, 0) < a.k OR ($5 AND a.cells > 0 AND (a.cells = 1 OR coalesce(a.among, 0) < a.k))'
            ' )) AS h(kept) ORDER BY 1, 2'
        ELSE
            'SELECT %1$s, %2$s, fleetgauge."distinct"(fleetgauge.distinct_merge(s.%3$I)), false,'
            ' bool_or(s.provisional) FROM store.%7$I($1, $2, $3) AS s WHERE true%5$s GROUP BY 1, 2 ORDER BY 1, 2'
        END,
        CASE WHEN whole THEN 'NULL::timestamptz' ELSE 's.bucket_start' END,
        (SELECT format('ARRAY[%s]::text[]', string_agg(format('s.%I', one), ', ' ORDER BY n))
            FROM unnest(split) WITH ORDINALITY AS u (one, n)),
        measure, asked, conditions, measure, stem || '_range')
    USING since, until, CASE WHEN whole THEN 'day' ELSE grain END, given, narrowed;
END
$$
"""

COMMENT = """
COMMENT ON FUNCTION fleetgauge.distinct_count IS
    'How many different values a distinct measure of the views metrics.<stem>_minute, _hour and _day has in [since,
    until): for each bucket of the grain, or of all together (whole); by dimensions; filters: {"zone": ["a", "b"]}, "*"
    for all. NULL and suppressed where so few persons may not be shown.'
"""


# Of a metric that keeps numbers about few persons back, readers see that one changed, and not from what to what.
_KEPT_BACK = """EXISTS (
    SELECT FROM fleetgauge.metric_version AS v
    WHERE v.metric = r.metric AND v.definition ? 'privacy'
        AND v.definition #>> ARRAY['measures', r.measure, 'agg'] = 'distinct'
)"""
RESTATEMENT = f"""
CREATE OR REPLACE VIEW metrics.restatement AS
SELECT r.metric, r.version, r.level, r.grain, r.window_start, r.dimensions, r.measure,
    CASE WHEN NOT {_KEPT_BACK} THEN r.before END AS before, CASE WHEN NOT {_KEPT_BACK} THEN r.after END AS after,
    r.change, r.cells, r.reason, r.restated_at, r.run_id
FROM fleetgauge.restatement AS r
"""  # noqa: S608 (of constants)


def upgrade() -> None:
    """Create it, owned by those who own the sketches."""
    op.execute(RESTATEMENT)
    op.execute(COUNT)
    op.execute(COMMENT)
    signature = "fleetgauge.distinct_count(text, text, timestamptz, timestamptz, text, jsonb, text[], boolean)"
    op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO fleetgauge_viewer, fleetgauge_writer")
    op.execute("GRANT CREATE ON SCHEMA fleetgauge TO fleetgauge_writer")
    op.execute(f"ALTER FUNCTION {signature} OWNER TO fleetgauge_writer")
    op.execute("REVOKE CREATE ON SCHEMA fleetgauge FROM fleetgauge_writer")


def downgrade() -> None:
    """Drop it."""
    op.execute("CREATE OR REPLACE VIEW metrics.restatement AS SELECT * FROM fleetgauge.restatement")
    op.execute("DROP FUNCTION fleetgauge.distinct_count")
