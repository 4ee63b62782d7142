"""Processes of the demo itself, beside the servers: stopped with them, by the same pid files, also after a crash."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetlab.stack import layout, monitoring, ports
from fleetlab.stack.processes import Processes


class Beside:
    """Starts processes that `Stack.down` (and its guard) stops like a server."""

    def __init__(self, home: Path) -> None:
        """The home of a stack that is up."""
        folders = layout.find(home)
        self._logs, self._run = folders.logs, folders.run
        self._processes = Processes(folders)

    def start(self, name: str, command: Sequence[str | Path], folder: Path) -> str:
        """Start `command` in `folder`, its output in `<home>/logs/<name>.log`; returns `name`. Raises `Terminal`."""
        self._processes.spawn(name, command, log=self._logs / f"{name}.log", folder=folder)
        return name

    def start_scraped(self, job: str, commands: Mapping[str, Sequence[str]], folder: Path) -> list[str]:
        """Start the commands, by the names of their processes, each with `--http-port`: Prometheus' job scrapes it.

        Returns the names.
        """
        chosen = ports.choose([*commands], asked={}, before={})
        monitoring.scrape(self._run, job, chosen.values())
        return [
            self.start(name, [*command, "--http-port", str(chosen[name])], folder) for name, command in commands.items()
        ]
