"""Airflow: scheduler with LocalExecutor, API server and DAG processor; its metadata is in the metrics cluster."""

import base64
import hashlib
import importlib.metadata
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

from fleetgauge.errors import Terminal
from fleetgauge.settings import CONFIG_VARIABLE
from fleetlab.stack import postgres
from fleetlab.stack.context import Context
from fleetlab.stack.ports import LOOPBACK, get
from fleetlab.stack.state import AIRFLOW_DATABASE, AirflowState, Endpoint, write_private

SCHEDULER, API_SERVER, DAG_PROCESSOR = "airflow-scheduler", "airflow-api-server", "airflow-dag-processor"
PROCESSES = (SCHEDULER, API_SERVER, DAG_PROCESSOR)
PORTS = ("airflow",)
SECRETS = ("airflow_admin", "airflow_jwt", "airflow_api", "airflow_fernet")
_ADMIN = "admin"
_START_S = 300
_MIGRATE, _MIGRATED = "airflow-migrate", "migrated"
_PRELOAD_VARIABLE = "FLEETLAB_AIRFLOW_PRELOAD"
"""Names modules that scheduler and DAG processor import before they fork tasks and parsers, which need not then,
half a second of processor time each. For labs that live shortly, since a module that is changed stays as it was.
"""


def start(context: Context, config: Path) -> None:
    """Start the three processes, migrating the metadata database the first time; blocks until all report health.

    `config` is the fleetgauge configuration that the tasks read. Needs the metrics cluster. Raises `Terminal`.
    They run as the caller, not as the servers' account, since they need the project and its virtual environment.
    """
    planned = state(context)
    home, endpoint, version = Path(planned.home), planned.endpoint, planned.version
    home.mkdir(mode=0o700, exist_ok=True)
    write_private(home / "airflow.cfg", _ini(_settings(context, home, endpoint)))
    write_private(home / "passwords.json", json.dumps({_ADMIN: context.secrets["airflow_admin"]}))
    environment = _environment(context, home, config)
    airflow = [sys.executable, "-m", "airflow"]
    mark = home / _MIGRATED
    if not mark.is_file() or mark.read_text(encoding="ascii") != version:
        _migrate(context, [*airflow, "db", "migrate"], environment, fresh=not mark.is_file(), version=version)
        mark.write_text(version, encoding="ascii")
    commands = {
        API_SERVER: ["api-server", "--host", LOOPBACK, "--port", str(endpoint.port), "--workers", "1"],
        # The API server reads the tasks' logs from the same disk, so nobody needs the scheduler to serve them.
        SCHEDULER: ["scheduler", "--skip-serve-logs"],
        DAG_PROCESSOR: ["dag-processor"],
    }
    preloading = _preloading(home, environment)
    for name, arguments in commands.items():
        context.processes.spawn(
            name,
            [*airflow, *arguments],
            log=context.log(name),
            environment=environment if name == API_SERVER else preloading,
            folder=home,
        )
    parts = {API_SERVER: {"metadatabase"}, SCHEDULER: {"scheduler"}, DAG_PROCESSOR: {"dag_processor"}}
    with ThreadPoolExecutor(len(parts)) as pool:
        waits = [pool.submit(_wait, context, name, endpoint, needed) for name, needed in parts.items()]
        for wait in waits:
            wait.result()


def state(context: Context) -> AirflowState:
    """How to reach it. Raises `Terminal` if Airflow is not installed."""
    try:
        version = importlib.metadata.version("apache-airflow-core")
    except importlib.metadata.PackageNotFoundError as error:
        raise Terminal("the package apache-airflow is missing; run pip install 'fleetgauge[airflow]'") from error
    endpoint = Endpoint(LOOPBACK, context.ports["airflow"])
    return AirflowState(
        endpoint, version, str(context.layout.data / "airflow"), _ADMIN, context.secrets["airflow_admin"]
    )


def _migrate(context: Context, migrate: list[str], environment: dict[str, str], *, fresh: bool, version: str) -> None:
    """Make the tables: the first time with Airflow's own command, which is slow, later from a dump in the cache."""
    log = context.log(_MIGRATE)
    dump = context.cache / f"airflow-{version}.sql"
    if fresh and dump.is_file():
        try:
            load = ("-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", dump)
            postgres.run_client(context, _MIGRATE, "psql", AIRFLOW_DATABASE, "airflow", *load)
            return
        except Terminal:
            dump.unlink(missing_ok=True)  # damaged; it was loaded in one transaction, so nothing of it remains
    context.processes.run(_MIGRATE, migrate, log=log, environment=environment)
    if fresh:
        dump.parent.mkdir(parents=True, exist_ok=True)
        partial = dump.with_suffix(f".{os.getpid()}")
        postgres.run_client(context, _MIGRATE, "pg_dump", AIRFLOW_DATABASE, "airflow", "--no-owner", "-f", partial)
        partial.replace(dump)


def _wait(context: Context, name: str, endpoint: Endpoint, needed: set[str]) -> None:
    context.processes.wait_ready(
        name, lambda: needed <= _healthy_parts(endpoint), log=context.log(name), timeout_s=_START_S, poll_s=0.25
    )


def _healthy_parts(endpoint: Endpoint) -> set[str]:
    try:
        health = json.loads(get(f"http://{endpoint}/api/v2/monitor/health"))
    except (URLError, OSError, ValueError):
        return set()
    return {part for part, value in health.items() if value and value.get("status") == "healthy"}


def _settings(context: Context, home: Path, endpoint: Endpoint) -> dict[str, dict[str, object]]:
    database = postgres.state(context).airflow_url.replace("postgresql://", "postgresql+psycopg://")
    fernet = base64.urlsafe_b64encode(hashlib.sha256(context.secrets["airflow_fernet"].encode()).digest())
    return {
        "core": {
            "dags_folder": context.project / "dags",
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "dags_are_paused_at_creation": True,
            "execution_api_server_url": f"http://{endpoint}/execution/",
            "fernet_key": fernet.decode(),
            "simple_auth_manager_users": f"{_ADMIN}:admin",
            "simple_auth_manager_passwords_file": home / "passwords.json",
            "hostname_callable": "socket.gethostname",  # the default asks a name server
            "min_serialized_dag_update_interval": 5,
        },
        "database": {"sql_alchemy_conn": database, "sql_alchemy_conn_async": database},
        "api": {
            "base_url": f"http://{endpoint}",
            "host": LOOPBACK,
            "port": endpoint.port,
            "workers": 1,
            "secret_key": context.secrets["airflow_api"],
        },
        "api_auth": {"jwt_secret": context.secrets["airflow_jwt"]},
        "dag_processor": {
            "refresh_interval": 10,
            # A file that was changed does not wait for it; each look at one costs a second of processor time.
            "min_file_process_interval": 300,
            "bundle_refresh_check_interval": 2,
            "parsing_processes": 1,
        },
        "logging": {"base_log_folder": home / "logs", "colored_console_log": False},
        "usage_data_collection": {"enabled": False},
    }


def _preloading(home: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment of processes that fork: with a module that Airflow imports when it starts, if some are named."""
    modules = os.environ.get(_PRELOAD_VARIABLE, "").split()
    if not modules:
        return environment
    folder = home / "preload"
    folder.mkdir(exist_ok=True)
    lines = ["__all__ = ()  # nothing here changes a setting", *(f"import {module}" for module in modules)]
    write_private(folder / "airflow_local_settings.py", "\n".join(lines) + "\n")
    path = os.pathsep.join(filter(None, (str(folder), environment.get("PYTHONPATH"))))
    return {**environment, "PYTHONPATH": path}


def _ini(settings: dict[str, dict[str, object]]) -> str:
    lines = []
    for section, values in settings.items():
        lines += [f"[{section}]", *(f"{key} = {str(value).replace('%', '%%')}" for key, value in values.items()), ""]
    return "\n".join(lines)


def _environment(context: Context, home: Path, config: Path) -> dict[str, str]:
    """The caller's, without Airflow settings of its own; loopback goes past any proxy."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_")}
    environment = {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
        CONFIG_VARIABLE: str(config),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath))),
        "NO_PROXY": ",".join(filter(None, (kept.get("NO_PROXY"), LOOPBACK, "localhost"))),
        "no_proxy": ",".join(filter(None, (kept.get("no_proxy"), LOOPBACK, "localhost"))),
        # Several processes import the same big libraries, each with a pool of threads that nobody uses.
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        # Compiling Airflow at every start costs each process some seconds; keep the result away from the sources.
        environment["PYTHONPYCACHEPREFIX"] = str(context.cache / "pycache")
    return environment
