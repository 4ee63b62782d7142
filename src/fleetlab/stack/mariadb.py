"""A second production database: a MariaDB primary and its replica, where the system has `mariadbd` installed.

No package registry that the stack uses has MariaDB's programs, so this service is started only by name.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pymysql

from fleetgauge.errors import Terminal
from fleetlab.stack.context import Context
from fleetlab.stack.ports import LOOPBACK
from fleetlab.stack.state import Endpoint, MariadbState

PRIMARY, REPLICA = "mariadb-primary", "mariadb-replica"
PORTS = ("mariadb", "mariadb-replica")
ADMIN, REPLICATION = "mariadb_admin", "mariadb_replicator"
LOGINS = (ADMIN, REPLICATION)
MISSING = "MariaDB's server is not installed (on Debian: the package mariadb-server)"
_START_S = 60
_READY_MARK = "fleetlab.ready"
_SETTINGS, _LOGINS_FILE = "fleetlab.cnf", "fleetlab-logins.sql"


def is_installed() -> bool:
    """Whether this machine has the programs."""
    return _program("mariadbd") is not None and _program("mariadb-install-db") is not None


def start(context: Context) -> None:
    """Start primary and replica, creating them the first time; blocks until the replica streams. Raises `Terminal`."""
    if not is_installed():
        raise Terminal(f"{MISSING}; install it, or leave the service mariadb out")
    primary, replica = (context.layout.server_folder(name) for name in (PRIMARY, REPLICA))
    if not _is_made(primary):
        _empty(replica)  # a replica of a primary that no longer exists
    for name, folder, port_name, extra in (
        (PRIMARY, primary, PORTS[0], ("log-bin = binlog", "event-scheduler = on")),
        (REPLICA, replica, PORTS[1], ("read-only = on", "relay-log = relay", "skip-slave-start")),
    ):
        if not _is_made(folder):
            _initialise(context, name, folder)
        _configure(context, folder, port_name, *extra)
        _start(context, name, folder, port_name)
    _follow(context)
    context.processes.wait_ready(REPLICA, lambda: _streams(context), log=context.log(REPLICA), timeout_s=_START_S)


def state(context: Context) -> MariadbState:
    """How to reach the two servers."""
    primary, replica = (Endpoint(LOOPBACK, context.ports[name]) for name in PORTS)
    return MariadbState(primary, replica, ADMIN, context.secrets[ADMIN])


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def _is_made(folder: Path) -> bool:
    return (folder / _READY_MARK).is_file()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _initialise(context: Context, name: str, folder: Path) -> None:
    _empty(folder)  # what a start that was killed half-way left
    command: list[str | Path] = [
        _program("mariadb-install-db") or "mariadb-install-db",
        "--no-defaults",
        f"--datadir={folder}",
        *("--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=normal"),
        "--innodb-log-file-size=16M",
    ]
    log = context.log(name)
    context.processes.run(
        f"{name}-install", command, log=log, user=context.layout.user, environment=_environment(), folder=folder
    )
    (folder / _READY_MARK).touch()
    context.layout.user.own(folder / _READY_MARK)


def _configure(context: Context, folder: Path, port_name: str, *extra: str) -> None:
    logins = [
        f"CREATE OR REPLACE USER {login}@'{LOOPBACK}' IDENTIFIED BY '{context.secrets[login]}'" for login in LOGINS
    ]
    statements = (
        "SET SESSION sql_log_bin = 0",  # each server has these of its own
        *logins,
        f"GRANT ALL ON *.* TO {ADMIN}@'{LOOPBACK}' WITH GRANT OPTION",
        f"GRANT REPLICATION SLAVE ON *.* TO {REPLICATION}@'{LOOPBACK}'",
    )
    settings = (
        "[mariadbd]",
        f"port = {context.ports[port_name]}",
        f"server-id = {1 + PORTS.index(port_name)}",
        f"bind-address = {LOOPBACK}",
        f"datadir = {folder}",
        "socket = mariadb.sock",  # relative to the data folder, whose full name may be too long for a socket
        "pid-file = mariadb.pid",
        f"init-file = {folder / _LOGINS_FILE}",
        "skip-name-resolve",
        "character-set-server = utf8mb4",
        "gtid-strict-mode = on",
        "innodb-buffer-pool-size = 64M",
        "innodb-log-file-size = 16M",
        "performance-schema = off",
        "max-connections = 60",
        # Nobody needs the data after a crash of the machine.
        "innodb-flush-log-at-trx-commit = 0",
        "sync-binlog = 0",
        *extra,
    )
    for name, lines in ((_SETTINGS, settings), (_LOGINS_FILE, [f"{one};" for one in statements])):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / name).chmod(0o600)
        context.layout.user.own(folder / name)


def _start(context: Context, name: str, folder: Path, port_name: str) -> None:
    context.processes.spawn(
        name,
        [_program("mariadbd") or "mariadbd", f"--defaults-file={folder / _SETTINGS}"],
        log=context.log(name),
        user=context.layout.user,
        environment=_environment(),
        folder=folder,
    )
    log = context.log(name)
    context.processes.wait_ready(name, lambda: _answers(context, port_name), log=log, timeout_s=_START_S)


def _environment() -> dict[str, str]:
    """The caller's, without what would lead the programs elsewhere."""
    misleading = ("MYSQL", "MARIADB", "TMPDIR", "HOME")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(misleading)}, "LC_ALL": "C"}


def _connect(context: Context, port_name: str) -> "pymysql.Connection[pymysql.cursors.Cursor]":
    return pymysql.connect(
        host=LOOPBACK,
        port=context.ports[port_name],
        user=ADMIN,
        password=context.secrets[ADMIN],
        connect_timeout=5,
        autocommit=True,
        ssl_disabled=True,
    )


def _answers(context: Context, port_name: str) -> bool:
    try:
        _connect(context, port_name).close()
    except pymysql.Error:
        return False
    return True


def _follow(context: Context) -> None:
    """Point the replica at the primary, whose port may be another one than before."""
    _ask(context, "STOP SLAVE")
    _ask(
        context,
        "CHANGE MASTER TO master_host = %s, master_port = %s, master_user = %s, master_password = %s,"
        " master_connect_retry = 1, master_use_gtid = slave_pos",
        [LOOPBACK, context.ports[PORTS[0]], REPLICATION, context.secrets[REPLICATION]],
    )
    _ask(context, "START SLAVE")


def _streams(context: Context) -> bool:
    found = _ask(context, "SHOW SLAVE STATUS")
    return bool(found) and found[0]["Slave_IO_Running"] == "Yes" and found[0]["Slave_SQL_Running"] == "Yes"


def _ask(context: Context, statement: str, values: Sequence[object] = ()) -> list[dict[str, object]]:
    """What the replica says."""
    with _connect(context, PORTS[1]) as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(statement, tuple(values))
        return list(cursor.fetchall())
