"""Starting servers so that they can always be found and stopped again, also by another process after a crash.

A server writes its own pid file before it becomes the server, so there is no moment at which it runs unrecorded. It is
in a session of its own, so that Ctrl-C on the terminal reaches only the command that started it, and it carries the
stack's home in its environment, so that even its children without a pid file are found.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from fleetgauge.errors import Terminal
from fleetlab.stack.layout import Layout
from fleetlab.stack.users import ServerUser

OWNER_VARIABLE = "FLEETLAB_OWNER"
"""In the environment of every server: the home of its stack."""
JOURNAL_VARIABLE = "FLEETLAB_JOURNAL"
"""Names a file that gets the name of each process that is started, one a line: so tests count their servers."""
_SHELL = 'echo $$ >&0; exec "$@" </dev/null'  # the pid file is stdin: opened by the parent, so any account can write it
_PIDS = "pids"
_CLOCK_SLACK_S = 2.0
_EMPTY_FILE_WAIT_S = 3.0
_POLL_S = 0.05
LAST_LINES = 15


class Cancelled(Exception):
    """The start was given up (Ctrl-C, or another server failed); no server may be started any more."""


class Processes:
    """The processes of one stack. Safe to use from several threads."""

    def __init__(self, layout: Layout) -> None:
        self._home, self._data = str(layout.home), str(layout.data)
        self._folder = layout.run / _PIDS
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._spawning = threading.Lock()
        self._cancelled = False

    def spawn(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        user: ServerUser | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> int:
        """Start `command` in the background, its output appended to `log`; returns the pid.

        Raises `Cancelled` after `cancel()`, `Terminal` if the system refuses.
        """
        self._folder.mkdir(exist_ok=True)
        full = {**(os.environ if environment is None else environment), OWNER_VARIABLE: self._home}
        with self._spawning, log.open("ab") as output:
            if self._cancelled:
                raise Cancelled
            try:
                with self._pid_file(name).open("wb") as pid_file:
                    child = subprocess.Popen(
                        ["/bin/sh", "-c", _SHELL, "fleetlab", *map(str, command)],
                        stdin=pid_file,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env=full,
                        cwd=folder or "/",
                        start_new_session=True,
                        **(user.popen_arguments() if user else {}),
                    )
            except OSError as error:
                raise Terminal(f"{name} cannot be started ({error}); see {log}") from error
            self._children[name] = child
        _note(name)
        return child.pid

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        timeout_s: float = 120,
        user: ServerUser | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Run `command` to its end, output to `log`. Raises `Terminal` with the log's last lines if it fails."""
        self.spawn(name, command, log=log, user=user, environment=environment, folder=folder)
        child = self._children[name]
        deadline = time.monotonic() + timeout_s
        while child.poll() is None:
            self.check_cancelled()
            if time.monotonic() > deadline:
                self.stop([name], grace_s=1)
                raise failure(name, f"did not end within {timeout_s:.0f} s", log)
            time.sleep(_POLL_S)
        del self._children[name]
        self._pid_file(name).unlink(missing_ok=True)
        if child.returncode != 0:
            raise failure(name, f"ended with exit code {child.returncode}", log)

    def wait_ready(
        self, name: str, ready: Callable[[], bool], *, log: Path, timeout_s: float, poll_s: float = _POLL_S
    ) -> None:
        """Block until `ready()`, for a process that this object spawned.

        Raises `Terminal` with the log's last lines if the process ends first or time runs out.
        """
        child = self._children[name]
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check_cancelled()
            if child.poll() is not None:
                raise failure(name, "ended while starting", log)
            if time.monotonic() > deadline:
                raise failure(name, f"was not ready within {timeout_s:.0f} s", log)
            time.sleep(poll_s)

    def cancel(self) -> None:
        """From now on `spawn` and the waits raise `Cancelled`; returns when no spawn is half-way."""
        with self._spawning:
            self._cancelled = True

    def check_cancelled(self) -> None:
        """Raises `Cancelled` after `cancel()`."""
        if self._cancelled:
            raise Cancelled

    def names(self) -> list[str]:
        """The names that have a pid file, whether or not the process still lives."""
        return sorted(path.stem for path in self._folder.glob("*.pid"))

    def pid(self, name: str) -> int | None:
        """The pid of the living process called `name`, else None; a pid that now belongs to another does not count."""
        process = self._process(name)
        return None if process is None else process.pid

    def family(self, name: str) -> list[psutil.Process]:
        """The living process called `name` and all below it or in its session."""
        leader = self._process(name)
        if leader is None:
            return []
        found = {leader.pid: leader}
        with contextlib.suppress(psutil.Error):
            found.update((p.pid, p) for p in leader.children(recursive=True))
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):
                if os.getsid(process.pid) == leader.pid:
                    found[process.pid] = process
        return list(found.values())

    def stop(
        self, names: Iterable[str], *, signals: Mapping[str, signal.Signals] | None = None, grace_s: float = 20
    ) -> None:
        """Stop these processes with everything below them: a polite signal to the leaders, SIGKILL to what is left."""
        names = list(names)
        members: list[psutil.Process] = []
        for name in names:
            self._await_pid(name)
            members += self.family(name)
            leader = self._process(name)
            if leader is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    leader.send_signal((signals or {}).get(name, signal.SIGTERM))
        self._end(members, grace_s)
        for name in names:
            self._pid_file(name).unlink(missing_ok=True)

    def sweep(self, keep: Iterable[str] = ()) -> None:
        """Stop every other process of this stack, with or without a pid file; the families of `keep` excepted."""
        ours = [p for p in psutil.process_iter() if self._is_ours(p)]
        # The families come second: a server that is kept may fork at any moment (Postgres does for each connection).
        kept = {p.pid for name in keep for p in self.family(name)} | {os.getpid()}
        strays = [p for p in ours if p.pid not in kept]
        for process in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        self._end(strays, grace_s=5)

    def _end(self, processes: list[psutil.Process], grace_s: float) -> None:
        _, alive = psutil.wait_procs(processes, timeout=grace_s, callback=self._reap)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5, callback=self._reap)

    def _reap(self, process: psutil.Process) -> None:
        for name, child in list(self._children.items()):
            if child.pid == process.pid:
                del self._children[name]
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=1)

    def _pid_file(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    def _process(self, name: str) -> psutil.Process | None:
        path = self._pid_file(name)
        try:
            text, written = path.read_text(encoding="ascii").strip(), path.stat().st_mtime
            if not text and name in self._children:  # it has not come to writing its pid
                text = str(self._children[name].pid)
            process = psutil.Process(int(text))
            # Whoever had this pid when the file was written started before that; a later one is somebody else.
            if process.create_time() > written + _CLOCK_SLACK_S or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        return process

    def _await_pid(self, name: str) -> None:
        """An empty pid file belongs to a process that was forked this very moment and is about to fill it."""
        path = self._pid_file(name)
        deadline = time.monotonic() + _EMPTY_FILE_WAIT_S
        while time.monotonic() < deadline:
            try:
                # A command that could not be forked leaves its file empty; only a fresh one is worth waiting for.
                if path.stat().st_size or time.time() - path.stat().st_mtime > _EMPTY_FILE_WAIT_S:
                    return
            except OSError:
                return
            time.sleep(_POLL_S)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            environment = process.environ()
            if environment:
                return environment.get(OWNER_VARIABLE) == self._home
            # A process that set its title has overwritten its environment, as Postgres and Airflow do; no shell does.
            return process.cwd().startswith(f"{self._data}{os.sep}")
        except (psutil.Error, OSError):
            return False


def _note(name: str) -> None:
    journal = os.environ.get(JOURNAL_VARIABLE)
    if journal:
        with contextlib.suppress(OSError), Path(journal).open("a", encoding="utf-8") as lines:
            lines.write(f"{name}\n")


def last_lines(log: Path, count: int = LAST_LINES) -> str:
    """The end of a log file, without control characters; empty if it cannot be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 64 * 1024))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = ["".join(c for c in line if c.isprintable() or c == "\t") for line in text.splitlines()]
    return "\n".join(lines[-count:])


def failure(name: str, what: str, log: Path) -> Terminal:
    """The error for a server that `what`: names the log and shows its last lines."""
    lines = last_lines(log)
    tail = f"; its last lines:\n{lines}" if lines else " (it is empty)"
    return Terminal(f"{name} {what}; see {log}{tail}")
