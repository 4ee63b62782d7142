"""Limits of those who look: a forgotten query of a dashboard or an analyst must not hold the metrics database."""

from collections.abc import Mapping

from fleetgauge.postgres import Connection, errors, sql
from fleetgauge.rollup.store.tables import VIEWER, VIEWS, WRITER

TIMEOUTS: Mapping[str, str] = {"grafana": "10s"}
"""How long a statement of a login may take; `OTHERS` for all that are not here. What an admin has set is left alone."""
OTHERS = "60s"

_LACKING = """
SELECT r.rolname, s.wanted
FROM pg_roles AS r CROSS JOIN (VALUES ('statement_timeout'), ('default_transaction_read_only')) AS s(wanted)
WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> current_user
    AND pg_has_role(r.oid, %(viewer)s, 'MEMBER') AND NOT pg_has_role(r.oid, %(owner)s, 'MEMBER')
    AND NOT EXISTS (
        SELECT FROM pg_db_role_setting AS known, unnest(known.setconfig) AS one
        WHERE known.setrole = r.oid AND starts_with(one, s.wanted || '=')
            AND known.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
ORDER BY 1, 2 DESC
"""


def lacking(connection: Connection, owner: str) -> list[tuple[str, str]]:
    """Logins of viewers, each with a setting that limits it and is not set. `owner`: its members are no viewers."""
    return [(login, name) for login, name in connection.execute(_LACKING, {"viewer": VIEWER, "owner": owner})]


def limit(connection: Connection, owner: str) -> None:
    """Set what is lacking, for new sessions; a login that the owner may not change stays for `doctor` to tell."""
    for login, name in lacking(connection, owner):
        value = "on" if name == "default_transaction_read_only" else TIMEOUTS.get(login, OTHERS)
        try:
            with connection.transaction():
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        sql.Identifier(login), sql.Identifier(name), sql.Literal(value)
                    )
                )
        except errors.InsufficientPrivilege:
            continue


_WITH_SKETCHES = """
SELECT c.relname, array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE a.atttypid <> 'varbit'::regtype)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind = 'v' AND pg_get_userbyid(c.relowner) = %(owner)s
GROUP BY c.oid HAVING bool_or(a.atttypid = 'varbit'::regtype) ORDER BY 1
"""


def withdraw_sketches(connection: Connection) -> None:
    """Take the columns with sketches of sets from viewers, in views that could not be made anew or nobody makes."""
    for view, others in connection.execute(_WITH_SKETCHES, {"schema": VIEWS, "owner": WRITER}).fetchall():
        name, role = sql.Identifier(VIEWS, view), sql.Identifier(VIEWER)
        connection.execute(sql.SQL("REVOKE SELECT ON {} FROM {}").format(name, role))
        connection.execute(
            sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(sql.SQL(", ").join(map(sql.Identifier, others)), name, role)
        )
