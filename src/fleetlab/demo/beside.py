"""Processes of the demo itself, beside the servers: stopped with them, by the same pid files, also after a crash."""

from collections.abc import Sequence
from pathlib import Path

from fleetlab.stack import layout
from fleetlab.stack.processes import Processes


class Beside:
    """Starts processes that `Stack.down` (and its guard) stops like a server."""

    def __init__(self, home: Path) -> None:
        """The home of a stack that is up."""
        folders = layout.find(home)
        self._logs = folders.logs
        self._processes = Processes(folders)

    def start(self, name: str, command: Sequence[str | Path], folder: Path) -> str:
        """Start `command` in `folder`, its output in `<home>/logs/<name>.log`; returns `name`. Raises `Terminal`."""
        self._processes.spawn(name, command, log=self._logs / f"{name}.log", folder=folder)
        return name
