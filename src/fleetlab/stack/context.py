"""What every server module needs to start its server."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from fleetgauge.errors import Terminal
from fleetlab.stack import artifacts
from fleetlab.stack.layout import Layout
from fleetlab.stack.processes import Processes
from fleetlab.stack.progress import StackProgress
from fleetlab.stack.state import write_private


@dataclass(frozen=True)
class Context:
    """The stack that is being started. `ports` holds all that were chosen for it, by name."""

    layout: Layout
    processes: Processes
    cache: Path
    progress: StackProgress
    secrets: "Secrets"
    ports: dict[str, int]
    project: Path

    def fetch(self, bundle: artifacts.Bundle) -> Path:
        """The bundle's folder, which the servers' account can reach; fetched into the cache first if need be."""
        folder = artifacts.ensure(bundle, self.cache, self.progress, check=self.processes.check_cancelled)
        return self.layout.reachable(folder)

    def log(self, name: str) -> Path:
        """Where the process called `name` prints."""
        return self.layout.logs / f"{name}.log"


class Secrets:
    """Random passwords, made once for each home: the data outlives the servers, and so must they."""

    def __init__(self, run: Path, names: tuple[str, ...]) -> None:
        path = run / "secrets.json"
        try:
            self._values: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except ValueError as error:
            raise Terminal(
                f"{path} is damaged; delete the stack with `fleetlab down --wipe` and start again"
            ) from error
        missing = [name for name in names if name not in self._values]
        if missing:
            self._values |= {name: secrets.token_urlsafe(24) for name in missing}
            write_private(path, json.dumps(self._values, indent=2))

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)} values)"
