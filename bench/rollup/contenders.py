"""Who takes part: each makes minute, hour and day right, as it can, after some rentals changed."""

import os
import subprocess
from pathlib import Path
from typing import Protocol

import pandas
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from bench.rollup.lab import ROOT, Databases
from bench.rollup.workload import DEFINITION, KEY, ZONE, fetch_stored
from fleetgauge.rollup import GRAINS, RunReport, raise_failures, run_metrics
from fleetgauge.rollup.store.migrate import migrate
from fleetlab.stack.state import PostgresServer

DBT = ROOT / ".venv-bench-dbt" / "bin" / "dbt"
_PROJECT = ROOT / "bench" / "peers" / "dbt"
_APP = "scooter_app"


class Contender(Protocol):
    """One way to keep the three grains."""

    title: str
    logins: dict[PostgresServer, str]
    """By server, as whom it works."""

    def prepare(self) -> None:
        """Compute everything once; not measured."""
        ...

    def settle(self) -> None:
        """Before a change: housekeeping that a server does by itself in time; not measured."""
        ...

    def run(self) -> None:
        """Bring the tables up to date; measured."""
        ...

    def tables(self) -> str:
        """Where the result is on the primary, for `workload.wrong`; not measured."""
        ...


class Fleetgauge:
    """One run of the engine: replica → metrics database."""

    def __init__(self, databases: Databases) -> None:
        self.title = "fleetgauge, one run"
        self.logins: dict[PostgresServer, str] = {"replica": "fleetgauge_reader", "metrics": "fleetgauge"}
        self._databases = databases

    def prepare(self) -> None:
        """The first run computes 180 days."""
        migrate(self._databases.settings, {DEFINITION.metric: DEFINITION})
        self._run()

    def settle(self) -> None:
        """Until nothing changed lately: a run looks again at what changed in the seconds before the last one."""
        self._databases.metrics.execute("VACUUM (ANALYZE)")
        self._databases.beat()
        while self._run().cells:
            self._databases.beat()

    def run(self) -> None:
        """As each minute."""
        self._run()

    def tables(self) -> str:
        """Copies."""
        return fetch_stored(self._databases)

    def _run(self) -> RunReport:
        reports = run_metrics(self._databases.settings, [DEFINITION], "minute")
        raise_failures(reports)
        return reports[0]


class FullSql:
    """Delete all, insert all, in the database of the rentals; hours from minutes, days from hours."""

    def __init__(self, databases: Databases) -> None:
        self.title = "full recomputation in SQL"
        self.logins: dict[PostgresServer, str] = {"primary": _APP}
        self._databases = databases

    def prepare(self) -> None:
        """Tables with the same keys as fleetgauge's."""
        self._databases.primary.execute(f"GRANT SELECT ON rentals TO {_APP}")
        with self._connect() as connection:
            for grain in GRAINS:
                connection.execute(
                    f"CREATE TABLE full_{grain} (window_start timestamptz, zone text, model text, rentals bigint,"
                    f" fare numeric, PRIMARY KEY ({KEY}))"
                )
        self.run()

    def settle(self) -> None:
        """Vacuum."""
        for grain in GRAINS:
            self._databases.primary.execute(f"VACUUM (ANALYZE) full_{grain}")

    def run(self) -> None:
        """One transaction."""
        insert = (
            f"INSERT INTO full_{{0}} SELECT date_trunc('{{0}}', {{2}}, '{ZONE}'), zone, model, {{3}}, sum(fare)"
            " FROM {1} GROUP BY 1, 2, 3"
        )
        with self._connect() as connection:
            for grain in GRAINS:
                connection.execute(f"DELETE FROM full_{grain}")
            connection.execute(insert.format("minute", "rentals", "started_at", "count(*)"))
            connection.execute(insert.format("hour", "full_minute", "window_start", "sum(rentals)"))
            connection.execute(insert.format("day", "full_hour", "window_start", "sum(rentals)"))

    def tables(self) -> str:
        """Its own."""
        return "full_{grain}"

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self._databases.url("primary", _APP))


class Pandas:
    """All raw rows to the client, three groupings there; nothing is written."""

    def __init__(self, databases: Databases) -> None:
        self.title = "pandas over the raw rows"
        self.logins: dict[PostgresServer, str] = {"replica": "fleetgauge_reader"}
        self._databases = databases
        self._frames: dict[str, pandas.DataFrame] = {}

    def prepare(self) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Nothing."""

    def run(self) -> None:
        """Read and group."""
        url = make_url(self._databases.url("replica", "fleetgauge_reader")).set(drivername="postgresql+psycopg")
        engine = create_engine(url, connect_args={"options": "-c statement_timeout=0 -c timezone=UTC"})
        with engine.connect() as connection:
            # Money stays exact: as floats, sums differ from those of SQL in hundreds of windows.
            frame = pandas.read_sql_query(
                "SELECT started_at, zone, model, fare FROM rentals", connection, coerce_float=False
            )
        engine.dispose()
        local = frame["started_at"].dt.tz_convert(ZONE)
        frame["rentals"] = 1
        for grain, code in (("minute", "min"), ("hour", "h"), ("day", "D")):
            frame["window_start"] = local.dt.floor(code)
            self._frames[grain] = frame.groupby(KEY.split(", "), as_index=False)[["rentals", "fare"]].sum()

    def tables(self) -> str:
        """Written to tables so that they can be compared."""
        for grain, frame in self._frames.items():
            self._databases.primary.execute(
                f"DROP TABLE IF EXISTS pandas_{grain}; CREATE UNLOGGED TABLE pandas_{grain}"
                " (window_start timestamptz, zone text, model text, rentals bigint, fare numeric)"
            )
            with self._databases.primary.cursor().copy(f"COPY pandas_{grain} FROM STDIN (FORMAT csv)") as copy:
                for begin in range(0, len(frame), 100_000):
                    copy.write(frame.iloc[begin : begin + 100_000].to_csv(index=False, header=False))
        self._frames.clear()
        return "pandas_{grain}"


class Dbt:
    """dbt-postgres, incremental models with three days of lookback, in the database of the rentals."""

    def __init__(self, databases: Databases, folder: Path) -> None:
        self.title = "dbt, 3 days of lookback"
        self.logins: dict[PostgresServer, str] = {"primary": _APP}
        self._databases = databases
        self._folder = folder

    def prepare(self) -> None:
        """May read."""
        self._databases.primary.execute(f"GRANT SELECT ON rentals TO {_APP}")

    def settle(self) -> None:
        """All anew, or it would carry what it missed before; then vacuum."""
        self.run("--full-refresh")
        for grain in GRAINS:
            self._databases.primary.execute(f"VACUUM (ANALYZE) dbt.ride_{grain}")

    def run(self, *options: str) -> None:
        """`dbt run`, start-up of the program included."""
        postgres = self._databases.postgres
        places = {"--project-dir": _PROJECT, "--profiles-dir": _PROJECT}
        places |= {"--target-path": self._folder / "target", "--log-path": self._folder / "logs"}
        done = subprocess.run(
            [str(DBT), "--quiet", "run", *options, *(str(part) for pair in places.items() for part in pair)],
            env={
                **os.environ,
                "BENCH_HOST": postgres.primary.host,
                "BENCH_PORT": str(postgres.primary.port),
                "BENCH_USER": _APP,
                "BENCH_PASSWORD": postgres.passwords[_APP],
                "BENCH_DATABASE": self._databases.name,
                "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"dbt failed: {done.stdout[-2000:]}{done.stderr[-500:]}")

    def tables(self) -> str:
        """Its own."""
        return "dbt.ride_{grain}"
