"""Prometheus, Alertmanager and Grafana, where they are installed: the programs of this machine, nothing is fetched.

They run as the caller, not as the servers' account, since they read rules and dashboards of the checkout.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import yaml

from fleetgauge.errors import Terminal
from fleetlab.stack import exporters, grafana, postgres
from fleetlab.stack.context import Context
from fleetlab.stack.ports import LOOPBACK, get
from fleetlab.stack.state import SCRAPED, Endpoint, MonitorState, Service, write_private

MONITORS: tuple[Service, ...] = ("prometheus", "alertmanager", "grafana")
"""Each is one process and has one port, all of its name."""
SECRETS = (grafana.SECRET,)
JOBS = ("consumers", "rollup", "services")
"""What is scraped of fleetgauge, by the names that the rules know, and of services beside it."""
_PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("alertmanager", "prometheus-alertmanager")}
_READY = {"prometheus": "/-/ready", "alertmanager": "/-/ready", "grafana": "/api/health"}
_MISSING = {
    "prometheus": "not installed; nothing is scraped, and dashboards for on-call engineers stay empty",
    "alertmanager": "not installed; alerts go nowhere",
    "grafana": f"not installed; no dashboards are shown (put it on PATH, or its folder in {grafana.HOME_VARIABLE})",
}
_START_S = 180
_SCRAPE_S = 10
"""Seconds; a demo's live stretch is short."""


def programs() -> dict[Service, Path]:
    """Those that are installed. Raises `Terminal` where GRAFANA_HOME names a folder without a Grafana."""
    found = {name: grafana.program() if name == "grafana" else _on_path(_PROGRAMS[name]) for name in MONITORS}
    return {name: program for name, program in found.items() if program is not None}


def said(found: Mapping[Service, Path], name: Service) -> str:
    """Where the program is, or what is missed without it."""
    return str(found[name]) if name in found else _MISSING[name]


def start(context: Context, name: Service, beside: Collection[Service]) -> None:
    """Start one of them; blocks until it answers. `beside`: all that will be up. Raises `Terminal`."""
    program = programs().get(name)
    if program is None:
        raise Terminal(f"{name} is {_MISSING[name]}")
    folder = context.layout.data / name
    folder.mkdir(mode=0o700, exist_ok=True)
    endpoint = _endpoint(context, name)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8", "NO_PROXY": LOOPBACK}
    if name == "grafana":
        arguments = _grafana(context, program, folder)
        prometheus = _endpoint(context, "prometheus") if "prometheus" in beside else None
        environment |= grafana.environment(context.project, postgres.state(context), prometheus)
    elif name == "prometheus":
        arguments = _prometheus(context, folder, beside, exporters.start(context, beside))
    else:
        arguments = _alertmanager(context, folder)
    log = context.log(name)
    context.processes.spawn(name, [program, *arguments], log=log, environment=environment, folder=folder)
    context.processes.wait_ready(
        name, lambda: _answers(f"http://{endpoint}{_READY[name]}"), log=log, timeout_s=_START_S, poll_s=0.25
    )


def state(context: Context, name: Service) -> MonitorState:
    """How to reach it."""
    if name == "grafana":
        return MonitorState(_endpoint(context, name), grafana.LOGIN, context.secrets[grafana.SECRET])
    return MonitorState(_endpoint(context, name))


def scrape(run: Path, job: str, ports: Collection[int]) -> None:
    """Let Prometheus scrape these loopback ports from now on, also if it starts later; `run`: of the layout."""
    targets = [f"{LOOPBACK}:{port}" for port in ports]
    write_private(_targets(run, job), json.dumps([{"targets": targets}]))


def _targets(run: Path, job: str) -> Path:
    return run / f"{SCRAPED}{job}.json"


def _on_path(names: Collection[str]) -> Path | None:
    return next((Path(found) for name in names if (found := shutil.which(name))), None)


def _endpoint(context: Context, name: Service) -> Endpoint:
    return Endpoint(LOOPBACK, context.ports[name])


def _prometheus(
    context: Context, folder: Path, beside: Collection[Service], also: Collection[dict[str, Any]]
) -> list[str]:
    """`also`: what else is scraped."""
    fleetgauge = [
        {"job_name": job, "file_sd_configs": [{"files": [str(_targets(context.layout.run, job))]}]} for job in JOBS
    ]
    up = {name: [{"targets": [str(_endpoint(context, name))]}] for name in MONITORS if name in beside}
    servers = [{"job_name": name, "static_configs": targets} for name, targets in up.items()]
    settings: dict[str, Any] = {
        "global": {"scrape_interval": f"{_SCRAPE_S}s", "evaluation_interval": "15s"},
        "rule_files": [str(context.project / "deploy" / "prometheus" / "rules" / "*.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": up.get("alertmanager", [])}]},
        "scrape_configs": [*fleetgauge, *servers, *also],
    }
    write_private(folder / "prometheus.yml", yaml.safe_dump(settings))
    return [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={_endpoint(context, 'prometheus')}",
    ]


def _alertmanager(context: Context, folder: Path) -> list[str]:
    """With the routes of `deploy/`, but receivers that send nothing: what fires is seen on its page."""
    source = context.project / "deploy" / "alertmanager"
    settings = yaml.safe_load((source / "alertmanager.yml").read_text(encoding="utf-8"))
    settings["receivers"] = [{"name": one["name"]} for one in settings["receivers"]]
    settings["templates"] = [str(source / one) for one in settings["templates"]]
    write_private(folder / "alertmanager.yml", yaml.safe_dump(settings))
    return [
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={_endpoint(context, 'alertmanager')}",
        "--cluster.listen-address=",  # alone; the default listens to the whole network
    ]


def _grafana(context: Context, program: Path, folder: Path) -> list[str]:
    config = folder / "grafana.ini"
    password = context.secrets[grafana.SECRET]
    write_private(config, grafana.settings(folder, context.project, _endpoint(context, "grafana"), password))
    return ["server", "--homepath", str(grafana.home(program)), "--config", str(config)]


def _answers(url: str) -> bool:
    try:
        get(url)
    except (URLError, OSError):
        return False
    return True
