"""What hides behind the names in source.sql on a Postgres: views, and functions that somebody has written.

A view may count from today as well as source.sql may, and then rows would be lost for good without a word.
"""

from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.source_sql import line_of, names_in, problems_behind

# Nearly always all names are plain tables; finding that out by what follows would take ten times as long.
_PLAIN = """
SELECT bool_and(c.relkind = 'r' AND NOT c.relhassubclass) FROM unnest(%s::text[]) AS name
JOIN pg_class AS c ON c.oid = to_regclass(name)
"""
_RELATIONS = """
WITH RECURSIVE used (oid, name) AS (
    SELECT to_regclass(name)::oid, name FROM unnest(%s::text[]) AS name
    UNION
    SELECT next.oid, used.name FROM used CROSS JOIN LATERAL (
        SELECT d.refobjid AS oid FROM pg_rewrite AS r JOIN pg_depend AS d ON d.objid = r.oid
        WHERE r.ev_class = used.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid <> used.oid
        UNION ALL
        SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = used.oid
    ) AS next
)
SELECT used.name, c.oid::regclass::text, c.relkind::text, CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END
FROM used JOIN pg_class AS c ON c.oid = used.oid
WHERE c.relkind IN ('v', 'm', 'f')
ORDER BY 1, 2
"""
_FUNCTIONS = """
SELECT p.oid::regprocedure::text, p.provolatile::text, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.proname = ANY (%s) AND p.prokind = 'f' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT EXISTS (SELECT FROM pg_proc AS b  -- its name leads to the server's own
        WHERE b.proname = p.proname AND b.pronamespace = 'pg_catalog'::regnamespace)
    AND NOT EXISTS (SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1
"""
_NOT_READ = {
    "m": "is a materialized view: its rows come with a refresh, long after they were changed, and none of them would "
    "be seen; read the tables that it is made of",
    "f": "is a foreign table: its rows are no part of what this database knows to be complete; read it where it lives, "
    "as a source of its own",
}


def check(connection: Connection[Any], definition: Definition) -> None:
    """Raises `Terminal` for a view or a function whose rows or values depend on when they are asked for.

    Asks the catalogue alone, inside the look's transaction. What cannot be found there is for the query itself to tell.
    """
    tables, calls = names_in(definition.source_sql, "postgres")
    named = [_quoted(parts) for parts in tables]
    plain = connection.execute(_PLAIN, [named]).fetchone() == (True,)
    relations = [] if plain else connection.execute(_RELATIONS, [named]).fetchall()
    for name, relation, kind, text in relations:
        found = [_NOT_READ[kind]] if text is None else problems_behind(text, "postgres")
        if found:
            what = f"{relation} {found[0]}" if text is None else f"view {relation}: {found[0]}"
            raise _refused(definition, name.rpartition(".")[2].strip('"'), what)
        calls += names_in(text, "postgres")[1] if text is not None else []
    for function, volatility, body in connection.execute(_FUNCTIONS, [calls]) if calls else ():
        found = problems_behind(body, "postgres") if volatility != "i" else []
        if volatility == "v":
            found = [
                "is VOLATILE; declare it IMMUTABLE, or STABLE, if what it gives follows from its arguments and rows"
            ]
        if found:
            name = function.partition("(")[0].rpartition(".")[2]
            raise _refused(definition, name, f"function {function}: {found[0]}")


def _quoted(parts: tuple[str, ...]) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _refused(definition: Definition, name: str, said: str) -> Terminal:
    line = line_of(definition.source_sql, name, "postgres")
    return Terminal(f"sql/metrics/{definition.metric}/source.sql:{line}: {said}")
