"""What Prometheus asks about the machine and the servers, where Debian's exporters are installed. None of it is needed.

Each is a process of its own beside Prometheus, and listens on loopback alone.
"""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetlab.stack import postgres
from fleetlab.stack.context import Context
from fleetlab.stack.ports import LOOPBACK
from fleetlab.stack.state import METRICS_DATABASE, PRODUCTION_DATABASE, PostgresServer, Service

NODE, ELASTICSEARCH = "prometheus-node-exporter", "prometheus-elasticsearch-exporter"
POSTGRES: Mapping[str, PostgresServer] = {
    "prometheus-postgres-exporter-primary": "primary",
    "prometheus-postgres-exporter-replica": "replica",
    "prometheus-postgres-exporter-metrics": "metrics",
}
NAMES = (NODE, *POSTGRES, ELASTICSEARCH)
"""Of processes, ports and logs."""
_QUIET = "--log.level=error"


@dataclass(frozen=True)
class _Exporter:
    name: str
    job: str
    instance: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """With a password, which a command line would show to everybody."""


def programs() -> dict[str, Path]:
    """Those that are installed, by the name of their process."""
    found = {name: shutil.which(_program(name)) for name in NAMES}
    return {name: Path(program) for name, program in found.items() if program is not None}


def said() -> str:
    """Which are there, and what is missed without the others."""
    found = {program.name for program in programs().values()}
    missing = sorted({_program(name) for name in NAMES} - found)
    if not missing:
        return ", ".join(sorted(found))
    return f"{', '.join(missing)} not installed; the dashboard of machines and servers stays empty in part"


def _program(name: str) -> str:
    return "prometheus-postgres-exporter" if name in POSTGRES else name


def start(context: Context, beside: Collection[Service]) -> list[dict[str, Any]]:
    """Start those that are installed and whose server is among `beside`; returns what Prometheus is to scrape.

    None is waited for: until it answers, Prometheus says so.
    """
    installed = programs()
    scraped: list[dict[str, Any]] = []
    for one in _wanted(context, beside):
        if one.name not in installed:
            continue
        address = f"{LOOPBACK}:{context.ports[one.name]}"
        context.processes.spawn(
            one.name,
            [installed[one.name], f"--web.listen-address={address}", _QUIET, *one.arguments],
            log=context.log(one.name),
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "NO_PROXY": LOOPBACK, **one.environment},
        )
        labels = {"job": one.job, "instance": one.instance}
        scraped.append({"job_name": one.name, "static_configs": [{"targets": [address], "labels": labels}]})
    return scraped


def _wanted(context: Context, beside: Collection[Service]) -> list[_Exporter]:
    found = [_Exporter(NODE, "node", "this machine", ("--no-collector.systemd",))]
    if "postgres" in beside:
        servers = postgres.state(context)
        for name, server in POSTGRES.items():
            end = getattr(servers, server)
            database = METRICS_DATABASE if server == "metrics" else PRODUCTION_DATABASE
            login = {
                "DATA_SOURCE_URI": f"{end}/{database}?sslmode=disable",
                "DATA_SOURCE_USER": postgres.ADMIN,
                "DATA_SOURCE_PASS": servers.passwords[postgres.ADMIN],
            }
            found.append(_Exporter(name, "postgres", server, environment=login))
    if "elasticsearch" in beside:
        url = f"http://{LOOPBACK}:{context.ports['elasticsearch']}"
        found.append(_Exporter(ELASTICSEARCH, "elasticsearch", "elasticsearch", (f"--es.uri={url}",)))
    return found
