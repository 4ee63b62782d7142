"""Processes of the demo itself, beside the servers: stopped with them, by the same pid files, also after a crash."""

from collections.abc import Sequence
from pathlib import Path

from fleetgauge.errors import Terminal
from fleetlab.stack import layout
from fleetlab.stack.processes import Processes, last_lines


class Beside:
    """Starts processes that `Stack.down` (and its guard) stops like a server."""

    def __init__(self, home: Path) -> None:
        """The home of a stack that is up."""
        places = layout.find(home)
        self._logs = places.logs
        self._processes = Processes(places)
        self._names: list[str] = []

    def start(self, name: str, command: Sequence[str | Path], folder: Path) -> None:
        """Start `command` in `folder`; its output goes to `<home>/logs/<name>.log`. Raises `Terminal`."""
        self._processes.spawn(name, command, log=self._log(name), folder=folder)
        self._names.append(name)

    def check(self) -> None:
        """Raises `Terminal` with the last lines of its log when one of the processes has ended."""
        for name in self._names:
            if self._processes.pid(name) is None:
                raise Terminal(f"{name} has ended; the last lines of {self._log(name)}:\n{last_lines(self._log(name))}")

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"
