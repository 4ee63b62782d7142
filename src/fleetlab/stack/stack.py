"""Starting, stopping and looking at a whole stack."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from fleetgauge.errors import Terminal
from fleetlab.stack import (
    airflow,
    artifacts,
    class_archive,
    elasticsearch,
    exporters,
    kafka,
    layout,
    mariadb,
    monitoring,
    ports,
    postgres,
    state,
)
from fleetlab.stack.context import Context, Secrets
from fleetlab.stack.guard import Guard
from fleetlab.stack.java import Jdk, find_jdk, look_at
from fleetlab.stack.lock import locked
from fleetlab.stack.processes import Cancelled, Processes
from fleetlab.stack.progress import Silent, StackProgress
from fleetlab.stack.state import CORE, SERVICES, JavaState, Service, StackState

NEEDED_BYTES = 3 * 1000**3
"""Free space without which a start is refused: servers that fill the disk half-way fail in unclear ways."""

_PROCESSES: dict[Service, tuple[str, ...]] = {
    "postgres": (postgres.PRIMARY, postgres.REPLICA, postgres.METRICS),
    "kafka": (kafka.NAME,),
    "elasticsearch": (elasticsearch.NAME,),
    "airflow": airflow.PROCESSES,
    **{name: (name,) for name in monitoring.MONITORS},
    "mariadb": (mariadb.PRIMARY, mariadb.REPLICA),
}
_BESIDE: dict[Service, tuple[str, ...]] = {"prometheus": exporters.NAMES}
"""Processes of a service that come and go with it, where the machine has them; without them it is up all the same."""
_PORTS: dict[Service, tuple[str, ...]] = {
    "postgres": postgres.PORTS,
    "kafka": kafka.PORTS,
    "elasticsearch": elasticsearch.PORTS,
    "airflow": airflow.PORTS,
    **{name: (name, *_BESIDE.get(name, ())) for name in monitoring.MONITORS},
    "mariadb": mariadb.PORTS,
}
_ENDPOINTS = ("endpoint", "primary", "replica", "metrics")
"""What a service's state may have of them."""
_SIGNALS = dict.fromkeys(_PROCESSES["postgres"], postgres.STOP_SIGNAL)
PORT_NAMES = tuple(name for names in _PORTS.values() for name in names)


@dataclass(frozen=True)
class ServiceStatus:
    """One service as it is now. `memory_bytes`: proportional set size where the system tells it, else unique."""

    service: Service
    running: bool
    address: str | None
    memory_bytes: int
    detail: str


class Stack:
    """One set of servers, with all it keeps below `home`.

    A lock lets one process at a time start or stop it, and each start first removes what a crash left.
    """

    def __init__(self, home: Path | None = None, *, cache: Path | None = None, project: Path | None = None) -> None:
        self.home = (home or layout.default_home()).resolve()
        self._cache = (cache or layout.default_cache()).resolve()
        self._project = (project or layout.project_root()).resolve()
        self._guard: Guard | None = None

    def up(
        self,
        services: Collection[Service] = CORE,
        *,
        progress: StackProgress | None = None,
        asked_ports: Mapping[str, int] | None = None,
        jdk: Path | None = None,
        guard: bool = False,
        wipe_on_guard: bool = False,
    ) -> StackState:
        """Start these services and what they need, and block until all are ready; what is up already stays as it is.

        With `guard` they are stopped when this process ends, however it ends (`wipe_on_guard`: deleted too).
        If the start fails or is interrupted, what this call started is stopped again.
        Raises `Terminal` (bad request, a server that did not start) or `Transient` (network, another command at work).
        """
        progress = progress or Silent()
        wanted = _wanted(services)
        layout.remove_orphans()
        with locked(self.home):
            folders = layout.prepare(self.home)
            processes = Processes(folders)
            before = self._running(folders, processes)
            self._check_ports(asked_ports or {}, before)
            keep = self._spared(before, processes)
            self._stop_all_but(keep, processes)
            missing = wanted - before.services
            if not missing:
                if guard and self._guard is None:
                    self._guard = Guard.start(self.home, wipe=wipe_on_guard, keep=[])
                return before
            found = self._jdk(before, missing, jdk)
            self._check_disk(folders, found, missing)
            started, config = time.monotonic(), Path(before.config)
            # Until all is up, even `kill -9` of this process must not leave a half-started stack behind.
            watch = Guard.start(self.home, wipe=False, keep=keep) if self._guard is None else None
            try:
                context = self._context(folders, processes, progress, asked_ports or {}, missing)
                after = self._planned(context, found, before, missing)
                state.write_config(config, after, self._project)  # Airflow's first task may want it
                self._start(context, found, missing, config, after.services)
                state.save(folders.run, after)
                if guard and self._guard is None:
                    self._guard = Guard.start(self.home, wipe=wipe_on_guard, keep=[])
            except BaseException:
                self._stop_all_but(keep, processes)
                if keep:
                    state.write_config(config, before, self._project)
                else:
                    state.remove(folders.run)
                self._release(watch)  # not reached if the stopping is interrupted too: then the watchdog does it
                raise
            self._release(watch)
            progress.note(f"the stack is up ({time.monotonic() - started:.1f} s)")
            return after

    def down(self, *, wipe: bool = False) -> None:
        """Stop everything of this home, whoever started it, also after a crash; with `wipe` delete its data too."""
        folders = layout.find(self.home)
        if folders.run.is_dir():
            with locked(self.home):
                self._stop_all_but([], Processes(folders))
                state.remove(folders.run)
                class_archive.keep(folders.data / kafka.NAME, self._cache)
                if wipe:
                    folders.wipe()
        else:
            Processes(folders).sweep()  # the folder was deleted while the servers ran
        layout.remove_orphans()
        self.leave_running()

    def stop(self, service: Service, *, kill: bool = False) -> None:
        """Stop one service, for tests of outages: `up` starts it again with its data, on the same ports if still free.

        With `kill` nothing is said to its processes, as with `kill -9`.
        """
        processes, names = Processes(layout.find(self.home)), _all_of(service)
        with locked(self.home):
            if kill:
                processes.stop(names, signals=dict.fromkeys(names, signal.SIGKILL), grace_s=0)
            else:
                processes.stop(names, signals=_SIGNALS)

    def leave_running(self) -> None:
        """Let the servers outlive this process, although `up` was asked to guard them."""
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    def clean_up(self, *, keep: Collection[str], wipe: bool) -> None:
        """For the guard: stop all processes but those named, whose services stay in the state file."""
        if not keep:
            self.down(wipe=wipe)
            return
        folders = layout.find(self.home)
        with locked(self.home):
            self._stop_all_but(keep, Processes(folders))

    def state(self) -> StackState | None:
        """What was started and not stopped, from the state file; None if nothing is up."""
        return state.load(layout.find(self.home).run)

    def status(self) -> list[ServiceStatus]:
        """Each service as it is now, by its processes and ports."""
        folders = layout.find(self.home)
        saved = state.load(folders.run)
        processes = Processes(folders)
        return [self._status_of(service, saved, processes) for service in _PROCESSES]

    def logs(self, service: Service) -> dict[str, Path]:
        """The log file of each process of the service."""
        folder = layout.find(self.home).logs
        return {name: folder / f"{name}.log" for name in _all_of(service)}

    # --- starting

    def _start(
        self, context: Context, jdk: Jdk | None, missing: frozenset[Service], config: Path, up: frozenset[Service]
    ) -> None:
        """Start what is missing, side by side; Airflow as soon as its database is there. `up`: all there will be."""
        jobs: dict[str, Future[None]] = {}

        def job(title: str, action: Callable[[], None], after: Future[None] | None = None) -> None:
            def timed() -> None:
                if after is not None:
                    after.result()
                begun = time.monotonic()
                action()
                context.progress.note(f"{title} is ready ({time.monotonic() - begun:.1f} s)")

            jobs[title] = pool.submit(timed)

        with ThreadPoolExecutor(max_workers=8) as pool:
            if "postgres" in missing:
                job("metrics database", lambda: postgres.start_metrics(context))
                job("production primary and replica", lambda: postgres.start_production(context))
            if "airflow" in missing:
                job("airflow", lambda: airflow.start(context, config), after=jobs.get("metrics database"))
            if "mariadb" in missing:
                job("second production database", lambda: mariadb.start(context))
            if jdk is not None and "elasticsearch" in missing:
                job("elasticsearch", lambda: elasticsearch.start(context, jdk))
            if jdk is not None and "kafka" in missing:
                job("kafka", lambda: kafka.start(context, jdk))
            for name in missing.intersection(monitoring.MONITORS):
                job(name, partial(monitoring.start, context, name, up))
            try:
                done, _ = wait(jobs.values(), return_when=FIRST_EXCEPTION)
                errors = [error for one in done if (error := one.exception()) is not None]
                if errors:
                    raise next((e for e in errors if not isinstance(e, Cancelled)), errors[0])
            except BaseException:
                context.processes.cancel()  # the other starts give up at their next look
                raise

    @staticmethod
    def _release(watch: Guard | None) -> None:
        if watch is not None:
            watch.release()

    @staticmethod
    def _planned(context: Context, jdk: Jdk | None, before: StackState, missing: frozenset[Service]) -> StackState:
        """The state as it will be when all that is missing has started."""
        after = before
        if "postgres" in missing:
            after = replace(after, postgres=postgres.state(context))
        if "airflow" in missing:
            after = replace(after, airflow=airflow.state(context))
        monitors: dict[str, Any] = {
            name: monitoring.state(context, name) for name in missing.intersection(monitoring.MONITORS)
        }
        after = replace(after, **monitors)
        if "mariadb" in missing:
            after = replace(after, mariadb=mariadb.state(context))
        if jdk is not None:
            after = replace(after, java=JavaState(str(jdk.home), jdk.version))
            if "kafka" in missing:
                after = replace(after, kafka=kafka.state(context))
            if "elasticsearch" in missing:
                after = replace(after, elasticsearch=elasticsearch.state(context, jdk))
        return after

    def _context(
        self,
        folders: layout.Layout,
        processes: Processes,
        progress: StackProgress,
        asked: Mapping[str, int],
        missing: frozenset[Service],
    ) -> Context:
        remembered = self._remembered_ports()
        names = [name for service in SERVICES if service in missing for name in _PORTS[service]]
        chosen = {**remembered, **ports.choose(names, asked=asked, before=remembered)}
        state.write_private(folders.run / "ports.json", json.dumps(chosen, indent=2))
        secrets = Secrets(folders.run, (*postgres.LOGINS, *airflow.SECRETS, *monitoring.SECRETS, *mariadb.LOGINS))
        return Context(folders, processes, self._cache, progress, secrets, chosen, self._project)

    def _jdk(self, before: StackState, missing: frozenset[Service], named: Path | None) -> Jdk | None:
        if not missing & {"kafka", "elasticsearch"}:
            return None
        if named is not None:
            return look_at(named)
        if before.java is not None:
            return Jdk(Path(before.java.home), before.java.version)
        return find_jdk()

    def _check_disk(self, folders: layout.Layout, jdk: Jdk | None, missing: frozenset[Service]) -> None:
        known = artifacts.bundles()
        needed = [known[jdk.elasticsearch]] if jdk is not None and "elasticsearch" in missing else []
        needed += [known["kafka"]] if "kafka" in missing else []
        fetching = any(not artifacts.is_cached(bundle, self._cache) for bundle in needed)
        for folder in (folders.base, self._cache) if fetching else (folders.base,):
            existing = next(p for p in (folder, *folder.parents) if p.exists())
            free = shutil.disk_usage(existing).free
            if free < NEEDED_BYTES:
                raise Terminal(
                    f"only {free / 1e9:.1f} GB are free for {folder} and the stack needs {NEEDED_BYTES / 1e9:.0f} GB; "
                    "free some space, or choose another folder with --home or FLEETLAB_CACHE"
                )

    def _check_ports(self, asked: Mapping[str, int], before: StackState) -> None:
        unknown = sorted(set(asked) - set(PORT_NAMES))
        if unknown:
            raise Terminal(f"there is no port called {', '.join(unknown)}; the names are {', '.join(PORT_NAMES)}")
        remembered = self._remembered_ports()
        for service in before.services:
            for name in _PORTS[service]:
                if name in asked and asked[name] != remembered.get(name):
                    raise Terminal(
                        f"{service} is up and has port {remembered.get(name)} for {name}; "
                        f"run `fleetlab down` before asking for port {asked[name]}"
                    )

    def _remembered_ports(self) -> dict[str, int]:
        try:
            ports_by_name: dict[str, int] = json.loads((self.home / "run" / "ports.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return ports_by_name

    # --- stopping and looking

    def _running(self, folders: layout.Layout, processes: Processes) -> StackState:
        """The saved state without the services of which a process is gone."""
        try:
            saved = state.load(folders.run)
        except Terminal:
            saved = None  # damaged, or of another version: everything is stopped and started anew
        fresh = StackState(home=str(self.home), config=str(folders.run / "fleetgauge.toml"))
        if saved is None:
            return fresh
        alive = {s for s in saved.services if all(processes.pid(name) is not None for name in _PROCESSES[s])}
        if "postgres" not in alive:
            alive -= {"airflow", "grafana"}
        gone: dict[str, Any] = {service: None for service in saved.services if service not in alive}
        return replace(saved, **gone)

    @staticmethod
    def _spared(before: StackState, processes: Processes) -> list[str]:
        """What a start leaves alone: the servers that are up, and what somebody runs beside them, such as consumers."""
        if not before.services:
            return []
        beside = [name for name in processes.names() if not name.startswith(tuple(_PROCESSES))]
        up = [name for service in before.services for name in _all_of(service)]
        return [*beside, *up]

    @staticmethod
    def _stop_all_but(keep: Collection[str], processes: Processes) -> None:
        names = [name for name in processes.names() if name not in keep]
        # Airflow first: its tasks would report lost databases as failures.
        first = [name for name in names if name in airflow.PROCESSES]
        processes.stop(first, grace_s=10)
        processes.stop([name for name in names if name not in first], signals=_SIGNALS)
        processes.sweep(keep)

    def _status_of(self, service: Service, saved: StackState | None, processes: Processes) -> ServiceStatus:
        names = _PROCESSES[service]
        gone = [name for name in names if processes.pid(name) is None]
        part = getattr(saved, service) if saved is not None else None
        if part is None:
            detail = (
                "down"
                if len(gone) == len(names)
                else "starting, or left by a start that failed; `fleetlab down` removes it"
            )
            return ServiceStatus(service, False, None, 0, detail)
        ends = {name: getattr(part, name) for name in _ENDPOINTS if hasattr(part, name)}
        several = ", ".join(f"{name} {end}" for name, end in ends.items())
        address = several if len(ends) > 1 else getattr(part, "url", str(ends["endpoint"]))
        memory = sum(_memory(p) for name in _all_of(service) for p in processes.family(name))
        if gone:
            return ServiceStatus(
                service, False, address, memory, f"{', '.join(gone)} ended; see `fleetlab logs {service}`"
            )
        closed = [str(end) for end in ends.values() if not ports.is_open(end.port)]
        return ServiceStatus(
            service, not closed, address, memory, f"does not answer on {', '.join(closed)}" if closed else "up"
        )


def _all_of(service: Service) -> tuple[str, ...]:
    return _PROCESSES[service] + _BESIDE.get(service, ())


def _wanted(services: Collection[Service]) -> frozenset[Service]:
    unknown = sorted(set(services) - SERVICES)
    if unknown:
        raise Terminal(
            f"there is no service called {', '.join(unknown)}; the services are {', '.join(sorted(SERVICES))}"
        )
    extra: set[Service] = {"postgres"} if {"airflow", "grafana"} & set(services) else set()
    return frozenset(services) | extra


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))
    except (psutil.Error, OSError):
        return 0
