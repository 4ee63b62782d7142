"""Whatever a reader finds in the catalogue says what it is."""

import psycopg
from dashboard_world import Filled

UNSAID = r"""
WITH readable AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE has_schema_privilege('fleetgauge_viewer', oid, 'USAGE') AND nspname !~ '^(pg_|information_schema|public$)'
), relation AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class AS c
    INNER JOIN readable AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_any_column_privilege('fleetgauge_viewer', c.oid, 'SELECT')
), thing AS (
    SELECT 'schema' AS kind, nspname AS name, obj_description(oid, 'pg_namespace') AS said FROM readable
    UNION ALL
    SELECT 'view', name, obj_description(oid, 'pg_class') FROM relation
    UNION ALL
    SELECT 'column', r.name || '.' || a.attname, col_description(r.oid, a.attnum) FROM relation AS r
    INNER JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, obj_description(p.oid, 'pg_proc') FROM pg_proc AS p
    INNER JOIN readable AS n ON n.oid = p.pronamespace
    WHERE has_function_privilege('fleetgauge_viewer', p.oid, 'EXECUTE')
    UNION ALL
    SELECT 'type', t.oid::regtype::text, obj_description(t.oid, 'pg_type') FROM pg_type AS t
    INNER JOIN readable AS n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('d', 'e', 'r') AND has_type_privilege('fleetgauge_viewer', t.oid, 'USAGE')
)
SELECT kind, count(*), array_agg(name ORDER BY name) FILTER (WHERE coalesce(trim(said), '') = '') FROM thing
GROUP BY kind
"""


def test_every_object_that_a_reader_sees_has_a_comment(filled: Filled) -> None:
    with psycopg.connect(filled.settings.metrics.url.get_secret_value()) as reader:
        found = {kind: (count, unsaid) for kind, count, unsaid in reader.execute(UNSAID)}
    assert found.keys() == {"schema", "view", "column", "function", "type"}
    assert found["column"][0] > 1000 and found["view"][0] > 90, "the catalogue was read"
    assert {kind: unsaid for kind, (_, unsaid) in found.items() if unsaid} == {}
