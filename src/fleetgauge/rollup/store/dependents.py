"""What others have built on views: objects that would break without them, and grants that would go with them."""

from collections.abc import Collection
from dataclasses import dataclass

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.store.tables import STORE, VIEWER, VIEWS

# A rule belongs to its view, a row type to its relation: from each of these the search goes on, to any depth.
_DEPENDENTS = """
WITH RECURSIVE dependent (root, classid, objid) AS (
    SELECT c.oid, 'pg_class'::regclass::oid, c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = ANY (%(views)s) AND c.relkind IN ('v', 'r', 'p')
    UNION
    SELECT h.root, step.classid, step.objid FROM dependent AS h CROSS JOIN LATERAL (
        SELECT d.classid, d.objid FROM pg_depend AS d WHERE d.refclassid = h.classid AND d.refobjid = h.objid
        UNION ALL
        SELECT 'pg_class'::regclass::oid, r.ev_class FROM pg_rewrite AS r
        WHERE h.classid = 'pg_rewrite'::regclass AND r.oid = h.objid AND r.rulename = '_RETURN'
    ) AS step
)
SELECT root.oid::regclass::text, o.type, o.identity FROM dependent AS h JOIN pg_class AS root ON root.oid = h.root
CROSS JOIN LATERAL pg_identify_object(h.classid, h.objid, 0) AS o
LEFT JOIN pg_rewrite AS r ON h.classid = 'pg_rewrite'::regclass AND r.oid = h.objid
LEFT JOIN pg_class AS p ON h.classid = 'pg_class'::regclass AND p.oid = h.objid
WHERE h.root <> h.objid AND o.type NOT IN ('type', 'composite type', 'index', 'toast table', 'default value',
    'table constraint', 'trigger')
AND r.rulename IS DISTINCT FROM '_RETURN' AND p.relispartition IS DISTINCT FROM true
ORDER BY 1, o.type, o.identity
"""

_GRANTS = """
SELECT c.relname, a.name, CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END, x.privilege_type,
    x.is_grantable
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT NULL AS name, c.relacl AS acl UNION ALL
    SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL
) AS a
CROSS JOIN LATERAL aclexplode(a.acl) AS x
WHERE n.nspname = %(schema)s AND c.relname = ANY (%(views)s) AND x.grantee <> c.relowner
ORDER BY c.relname, a.name NULLS FIRST, 3, 4
"""

_ON_FUNCTION = """
SELECT p.oid::regprocedure::text, CASE WHEN r.oid IS NULL THEN o.type ELSE 'view' END,
    coalesce(r.ev_class::regclass::text, o.identity)
FROM pg_proc AS p JOIN pg_depend AS d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS o
WHERE p.pronamespace = %(schema)s::regnamespace AND p.proname = %(name)s
ORDER BY 2, 3
"""


@dataclass(frozen=True)
class Dependent:
    """An object that depends on a view, directly or through others."""

    relation: str
    """The view (or table) that it needs, with its schema."""
    kind: str
    """As Postgres calls it: view, materialized view, function, rule, …"""
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} (on {self.relation})"


@dataclass(frozen=True)
class Grant:
    """A privilege on a view, or on one column of it."""

    view: str
    column: str | None
    role: str
    privilege: str
    grantable: bool

    def __str__(self) -> str:
        column = f" ({self.column})" if self.column else ""
        option = " with grant option" if self.grantable else ""
        return f"{self.privilege}{column} to {self.role}{option} (on {VIEWS}.{self.view})"

    def statement(self) -> sql.Composed:
        """What grants it again."""
        column = sql.SQL(" ({})").format(sql.Identifier(self.column)) if self.column else sql.SQL("")
        role = sql.SQL("PUBLIC") if self.role == "PUBLIC" else sql.Identifier(self.role)
        return sql.SQL("GRANT {}{} ON {} TO {}{}").format(
            sql.SQL(self.privilege),
            column,
            sql.Identifier(VIEWS, self.view),
            role,
            sql.SQL(" WITH GRANT OPTION" if self.grantable else ""),
        )


def dependents(
    connection: Connection, names: Collection[str], own: Collection[str] = (), schema: str = VIEWS
) -> list[Dependent]:
    """What depends on these views (or tables) of the schema, to any depth, save these themselves and `own` views."""
    ours = {*(f"{schema}.{name}" for name in names), *(f"{at}.{name}" for name in own for at in (VIEWS, STORE))}
    rows = connection.execute(_DEPENDENTS, {"schema": schema, "views": list(names)}).fetchall()
    return [one for row in rows if (one := Dependent(*row)).name not in ours]


def dependents_of_function(connection: Connection, schema: str, name: str) -> list[Dependent]:
    """What hangs directly on the functions of this name."""
    return [Dependent(*row) for row in connection.execute(_ON_FUNCTION, {"schema": schema, "name": name}).fetchall()]


def grants(connection: Connection, views: Collection[str], *, everybody: bool = False) -> list[Grant]:
    """Who may do what with these views; the viewers' SELECT, which every view has, only with `everybody`."""
    rows = connection.execute(_GRANTS, {"schema": VIEWS, "views": list(views)}).fetchall()
    found = [Grant(*row) for row in rows]
    return [one for one in found if everybody or (one.role, one.privilege, one.column) != (VIEWER, "SELECT", None)]
