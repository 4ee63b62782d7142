"""Limits of those who look: a forgotten query of a dashboard or an analyst must not hold the metrics database."""

from collections.abc import Mapping

from fleetgauge.postgres import Connection, errors, sql
from fleetgauge.rollup.store.tables import VIEWER

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
