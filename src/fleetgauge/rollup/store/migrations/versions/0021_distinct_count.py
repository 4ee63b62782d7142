"""Viewers count different values over ranges without seeing a sketch."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# It runs with the rights of whoever owns the sketches. Names are looked up in the catalogue and quoted, values are
# compared as they are, and no error tells a stored value. `_k`, `_hidden` and `_suppressed` are columns that the views
# of `store` have where numbers about few persons are kept back (`fleetgauge.rollup.store.views`): then an answer about
# a part of the windows' rows must not tell what is kept back by what it adds.
COUNT = """
CREATE FUNCTION fleetgauge.distinct_count(
    view text, measure text, since timestamptz, until timestamptz, filters jsonb DEFAULT '{}',
    by text[] DEFAULT '{}', whole boolean DEFAULT false)
RETURNS TABLE (window_start timestamptz, parts text[], estimate bigint, suppressed boolean, provisional boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation CONSTANT regclass := CASE WHEN view <> '' THEN to_regclass(format('store.%I', view)) END;
    given CONSTANT jsonb := coalesce(filters, '{}');
    split CONSTANT text[] := array_remove(by, NULL);
    guarded boolean;
    name text;
    conditions text := '';
    narrowed boolean := cardinality(split) > 0;
BEGIN
    PERFORM FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attrelid = relation AND c.relkind = 'v' AND a.attname = measure AND a.atttypid = 'varbit'::regtype;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no view metrics.% with a distinct measure %', view, measure
            USING ERRCODE = 'undefined_column';
    END IF;
    FOR name IN SELECT unnest(split) UNION SELECT * FROM jsonb_object_keys(given) LOOP
        IF given -> name ? '*' AND name <> ALL (split) THEN
            CONTINUE;
        END IF;
        PERFORM FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attname = name AND a.attnum > 0 AND a.atttypid = 'text'::regtype
            AND a.attname <> 'version';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'view metrics.% has no dimension %', view, name USING ERRCODE = 'undefined_column';
        END IF;
        IF given ? name AND NOT given -> name ? '*' THEN
            narrowed := true;
            conditions := conditions
                || format(' AND s.%I = ANY (ARRAY(SELECT jsonb_array_elements_text($3 -> %L)))', name, name);
        END IF;
    END LOOP;
    guarded := EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attname = '_k');
    RETURN QUERY EXECUTE format(
        'SELECT g.window_start, g.parts, CASE WHEN NOT g.kept THEN g.n END, g.kept, g.provisional FROM ('
        '  SELECT c.*, %s AS kept FROM ('
        '    SELECT %s AS window_start, %s AS parts, fleetgauge."distinct"(fleetgauge.distinct_merge(s.%I)) AS n,'
        '      bool_or(s.provisional) AS provisional%s'
        '    FROM %s AS s WHERE s.window_start >= $1 AND s.window_start < $2%s GROUP BY 1, 2) AS c'
        ') AS g ORDER BY 1, 2',
        CASE WHEN guarded THEN
            '(c.hides AND (c.n < c.k OR ($4 AND c.windows > 0 AND (c.windows = 1 OR c.among < c.k))))' ELSE 'false' END,
        CASE WHEN whole THEN 'NULL::timestamptz' ELSE 's.window_start' END,
        (SELECT format('ARRAY[%s]::text[]', string_agg(format('s.%I', one), ', ' ORDER BY n))
            FROM unnest(split) WITH ORDINALITY AS u (one, n)),
        measure,
        CASE WHEN guarded THEN format(
            ', %L = ANY (min(s._hidden)) AS hides, min(s._k) AS k,'
            ' count(DISTINCT s.window_start) FILTER (WHERE s._suppressed) AS windows,'
            ' fleetgauge."distinct"(fleetgauge.distinct_merge(s.%I) FILTER (WHERE s._suppressed)) AS among',
            measure, measure) ELSE '' END,
        relation, conditions)
    USING since, until, given, narrowed;
END
$$
"""

COMMENT = """
COMMENT ON FUNCTION fleetgauge.distinct_count IS
    'How many different values a distinct measure of a view of schema metrics has in [since, until): for each window,
    or of all together (whole); by dimensions; filters: {"zone": ["a", "b"]}, "*" for all. NULL and suppressed where
    so few persons may not be shown.'
"""


def upgrade() -> None:
    """Create it, owned by those who own the sketches."""
    op.execute(COUNT)
    op.execute(COMMENT)
    signature = "fleetgauge.distinct_count(text, text, timestamptz, timestamptz, jsonb, text[], boolean)"
    op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO fleetgauge_viewer, fleetgauge_writer")
    op.execute("GRANT CREATE ON SCHEMA fleetgauge TO fleetgauge_writer")
    op.execute(f"ALTER FUNCTION {signature} OWNER TO fleetgauge_writer")
    op.execute("REVOKE CREATE ON SCHEMA fleetgauge FROM fleetgauge_writer")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP FUNCTION fleetgauge.distinct_count")
