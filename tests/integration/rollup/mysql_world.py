"""A production database on MariaDB with the facts of `rollup_world`, its replica, and a metrics database."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql
from pydantic import SecretStr
from rollup_world import KEY, QUICK, Crash, Fuse, World, definition, fused

from fleetgauge.mysql import MysqlSession
from fleetgauge.rollup import Definition
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.sources.mysql import MysqlSource
from fleetgauge.settings import SourceSettings
from fleetlab.stack import MariadbState

SCRIPTS = Path(__file__).parents[3] / "sql" / "source" / "mariadb"
READER, PASSWORD = "fleetgauge_reader", "only for reading"

SOURCE_SQL = """
-- Facts of the tests; the engine must cope with a remark and with 100 % of odd characters.
SELECT id, happened_at, changed_at, zone, kind, state, amount, length, score FROM facts WHERE state <> 'a%b' # all
"""

FACTS = """
CREATE TABLE facts (
    id bigint unsigned AUTO_INCREMENT PRIMARY KEY, happened_at timestamp(6) NOT NULL DEFAULT '2000-01-01',
    changed_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), zone varchar(40), kind varchar(40) NOT NULL,
    state enum('open', 'done', 'paid', 'a%b') NOT NULL, amount decimal(20, 4), length integer, score double,
    KEY (happened_at), KEY (changed_at)
)
"""
ROW = {"zone": "a", "kind": "x", "state": "open", "amount": 1, "length": 1, "score": 1.0}


def mysql_definition(metric: str, **changes: Any) -> Definition:
    """The metric of the tests, on MariaDB."""
    return definition(metric, **{"source": "shop", "dialect": "mysql", "source_sql": SOURCE_SQL, **changes})


def statements(file: str) -> list[str]:
    """What the DBA runs, without its heading's examples; DELIMITER is the client's."""
    text = re.sub(r"--.*", "", (SCRIPTS / file).read_text("utf-8"))
    plain, *procedures = text.split("DELIMITER $$")
    found = plain.split(";")
    for one in procedures:
        body, _, rest = one.partition("END $$")
        found += [f"{body}END", *rest.replace("DELIMITER ;", "").split(";")]
    return [one.strip() for one in found if one.strip()]


class App:
    """A session of the application, in UTC."""

    def __init__(self, mariadb: MariadbState, server: Any, database: str | None, *, autocommit: bool = True) -> None:
        end = getattr(mariadb, server)
        self.driver = pymysql.connect(
            host=end.host,
            port=end.port,
            user=mariadb.login,
            password=mariadb.password,
            database=database,
            autocommit=autocommit,
            init_command="SET time_zone = '+00:00'",
            ssl_disabled=True,
        )
        # Else a change of a row that is not there keeps others from inserting after it.
        self.ask("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def ask(self, query: str, values: Any = ()) -> Any:
        with self.driver.cursor() as cursor:
            cursor.execute(query, values or None)
            self.inserted = cursor.lastrowid
            return cursor.fetchall()

    def commit(self) -> None:
        self.driver.commit()

    def rollback(self) -> None:
        self.driver.rollback()

    def close(self) -> None:
        self.driver.close()


class FusedMysqlSource(MysqlSource):
    """A source each of whose exchanges with the server may be the last."""

    fuse: Fuse

    def _connect(self) -> MysqlSession:
        session = super()._connect()
        for name in ("rows", "named_rows", "columns"):
            setattr(session, name, self._fused(session, getattr(session, name)))
        return session

    def _fused(self, session: MysqlSession, ask: Callable[[str], Any]) -> Callable[[str], Any]:
        def asked(query: str) -> Any:
            if not self.fuse.burn():
                return ask(query)
            if self.fuse.after:
                ask(query)
            session.close()
            raise Crash

        return asked


@dataclass
class MysqlWorld(World):
    """`app` and `replica` of MariaDB, `postgres` and `metrics` of Postgres."""

    mariadb: MariadbState = None  # type: ignore[assignment]
    goes_back = timedelta(seconds=2)
    """A statement that is at work may have begun up to a second before the heartbeat of a moment ago."""

    def session(self) -> Any:
        return App(self.mariadb, "primary", self.name, autocommit=False)

    def insert(self, happened_at: datetime, connection: Any = None, **columns: Any) -> int:
        app, row = connection or self.app, {"happened_at": happened_at, **ROW, **columns}
        app.ask(
            f"INSERT INTO facts ({', '.join(row)}, changed_at) VALUES ({', '.join(['%s'] * len(row))}, now(6))",
            [value.astimezone(UTC) if isinstance(value, datetime) else value for value in row.values()],
        )
        return int(app.inserted)

    def change(self, fact: int, connection: Any = None, **columns: Any) -> None:
        sets = ", ".join(f"{name} = %s" for name in columns)
        values = [value.astimezone(UTC) if isinstance(value, datetime) else value for value in columns.values()]
        (connection or self.app).ask(f"UPDATE facts SET {sets}, changed_at = now(6) WHERE id = %s", [*values, fact])

    def beat(self) -> None:
        self.app.ask("CALL fleetgauge_beat()")

    def lie(self, by: timedelta) -> None:
        self.app.ask(
            "UPDATE fleetgauge_heartbeat"
            " SET beat_at = UTC_TIMESTAMP(6) + INTERVAL %s SECOND, oldest_xact_start = beat_at",
            [by.total_seconds()],
        )

    def heartbeat(self) -> datetime:
        ((found,),) = self.app.ask("SELECT LEAST(beat_at, oldest_xact_start) FROM fleetgauge_heartbeat")
        return found.replace(tzinfo=UTC)

    def settle(self, one: Definition) -> None:
        """Every heartbeat here allows for a second."""
        ((newest,),) = self.app.ask("SELECT MAX(changed_at) FROM facts")
        deadline = time.monotonic() + 30
        while newest is not None and self.heartbeat() <= newest.replace(tzinfo=UTC):
            assert time.monotonic() < deadline, "the heartbeat stands still"
            time.sleep(0.1)
            self.beat()
        self.catch_up()
        assert self.run(one).error is None

    def break_contract(self, fact: int, *, deleted: bool) -> None:
        what = "DELETE FROM facts" if deleted else "UPDATE facts SET amount = COALESCE(amount, 0) + 3"
        self.app.ask(f"{what} WHERE id = %s", [fact])

    def catch_up(self, limit_s: float = 30) -> None:
        ((position,),) = self.app.ask("SELECT @@gtid_binlog_pos")
        ((waited,),) = self.replica.ask("SELECT MASTER_GTID_WAIT(%s, %s)", [position, limit_s])
        assert waited == 0, "the replica does not catch up"

    def empty(self) -> None:
        self.app.ask("DELETE FROM facts")
        self.app.ask("DELETE FROM fleetgauge_heartbeat")

    def facts(self) -> list[Any]:
        found = self.app.ask("SELECT happened_at, zone, kind, state, amount, length, score FROM facts")
        return [(at.replace(tzinfo=UTC), "(not set)" if zone is None else zone, *rest) for at, zone, *rest in found]

    @contextmanager
    def engine_with(self, one: Definition, fuse: Fuse, options: RunOptions = QUICK) -> Iterator[Engine]:
        source = FusedMysqlSource("shop", self.settings.source("shop"), key=KEY)
        source.fuse = fuse
        try:
            yield Engine(one, source, lambda: connect_metrics(self.settings.metrics, options, fused(fuse)), options)
        finally:
            source.close()

    def reader_url(self, server: Any = "replica") -> SecretStr:
        """As the settings have it."""
        return SecretStr(self.mariadb.url(server, READER, PASSWORD, self.name))


@contextmanager
def built(world: World, mariadb: MariadbState) -> Iterator[MysqlWorld]:
    """The databases of `world`, with MariaDB's instead of its primary and replica; dropped afterwards."""
    admin = App(mariadb, "primary", None)
    admin.ask(f"CREATE DATABASE {world.name}")
    app, replica = App(mariadb, "primary", world.name), App(mariadb, "replica", None)
    found = MysqlWorld(
        world.postgres,
        world.name,
        app,
        world.metrics,
        replica,
        world.settings,
        mariadb,  # type: ignore[arg-type]
    )
    app.ask(f"CREATE USER IF NOT EXISTS {READER} IDENTIFIED BY '{PASSWORD}'")
    app.ask(FACTS)
    app.ask(f"GRANT SELECT ON facts TO {READER}")
    for statement in (*statements("01_reader.sql"), *statements("02_heartbeat.sql")):
        if not statement.startswith("CREATE EVENT"):  # a test says itself when there is a heartbeat
            app.ask(statement)
    sources = {**world.settings.sources, "shop": SourceSettings(url=found.reader_url())}
    found.settings = world.settings.model_copy(update={"sources": sources})
    found.catch_up()
    try:
        yield found
    finally:
        for one in (app, replica):
            one.close()
        admin.ask(f"DROP DATABASE {world.name}")
        admin.close()
