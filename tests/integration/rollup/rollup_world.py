"""A production database with one table of facts, its replica, and a metrics database, all of a test module's own."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from pydantic import SecretStr, TypeAdapter

from fleetgauge.errors import sure
from fleetgauge.postgres import AnswersInTime
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.rollup import Definition, RunReport, run_metrics
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.sketches.distinct import sketch as distinct_sketch
from fleetgauge.rollup.sketches.sketch import sketch
from fleetgauge.rollup.sources.postgres import PostgresSource
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.rollup.store.views import counts_sets
from fleetgauge.settings import MetricsSettings, RollupSettings, Settings, SourceSettings
from fleetlab.stack import PostgresState
from fleetlab.stack.state import DISTINCT_KEY

SECRET = SecretStr(DISTINCT_KEY)
KEY = sure(DistinctKey.of(SECRET), "a key")
"""Of the fingerprints."""

QUICK = RunOptions(overlap=timedelta(0), pause_s=0.0, dense=3, clock_steps=False)
"""Without the overlap, and without reading again, a cursor that is taken too late shows at once; and few cells
make an hour dense."""

SOURCE_SQL = """
-- Facts of the tests; the engine must cope with a remark and with 100 % of odd characters.
SELECT id, happened_at, changed_at, zone, kind, state, amount, length, score FROM facts WHERE state <> 'a%b'
"""

FACTS = """
CREATE TABLE facts (
    id bigserial PRIMARY KEY, happened_at timestamptz NOT NULL, changed_at timestamptz NOT NULL DEFAULT now(),
    zone text, kind text NOT NULL, state text NOT NULL, amount numeric, length integer, score double precision
);
CREATE INDEX ON facts (happened_at);
CREATE INDEX ON facts (changed_at);
"""

HEARTBEAT = """
CREATE TABLE fleetgauge_heartbeat (
    id integer PRIMARY KEY, beat_at timestamptz NOT NULL, oldest_xact_start timestamptz NOT NULL,
    set_back bigint NOT NULL DEFAULT 0, set_back_to timestamptz
);
"""

BEAT = """
INSERT INTO fleetgauge_heartbeat
SELECT 1, now, least(now, (SELECT min(xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'))
FROM (SELECT clock_timestamp() AS now) AS clock
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, oldest_xact_start = excluded.oldest_xact_start
"""

LIE = """
INSERT INTO fleetgauge_heartbeat
SELECT 1, at, at FROM (SELECT clock_timestamp() + %s) AS _(at)
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, oldest_xact_start = excluded.oldest_xact_start
"""

_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)


def definition(metric: str = "fact", **changes: Any) -> Definition:
    """The metric of the tests; `changes` stand in for keys of metric.yaml."""
    found: Definition = _ADAPTER.validate_python(
        {
            "metric": metric,
            "source": "operations",
            "event_time": "happened_at",
            "change_time": "changed_at",
            "grace": "0s",
            "dimensions": {"zone": {"column": "zone", "limit": 16}, "kind": {"column": "kind", "limit": 16}},
            "measures": {
                "n": {"agg": "count"},
                "open": {"agg": "count", "where": {"state": "open"}},
                "closed": {"agg": "count", "where": {"state": ["done", "paid"]}},
                "amount": {"agg": "sum", "of": "amount", "type": "numeric", "where": {"state": {"ne": "open"}}},
                "length": {"agg": "sum", "of": "length"},
                "least": {"agg": "min", "of": "length"},
                "most": {"agg": "max", "of": "score", "type": "float"},
                "score": {"agg": "percentile", "of": "score"},
                "kinds": {"agg": "distinct", "of": "length", "where": {"state": {"ne": "open"}}},
                "latest": {"agg": "last", "of": "length"},
                "share": {"agg": "ratio", "numerator": "closed", "denominator": "n"},
            },
            "rollups": {} if "dimensions" in changes else {"by_zone": ["zone"], "total": []},
            "source_sql": SOURCE_SQL,
            **changes,
        }
    )
    return found.keyed(KEY.id)


class Off:
    """A worker's clock that is wrong."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC) + self.by


class Crash(Exception):
    """The process dies here."""


@dataclass
class Fuse:
    """Breaks the connection at the n-th exchange with a server, before or after it happens."""

    at: int | None = None
    after: bool = False
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def burn(self) -> bool:
        with self.lock:
            self.count += 1
            return self.count == self.at


def fused(fuse: Fuse) -> type[AnswersInTime]:
    """A connection class; every statement, COPY, BEGIN and COMMIT is one exchange."""

    class FusedConnection(AnswersInTime):
        def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
            if not fuse.burn():
                return super().wait(gen, *args, **kwargs)
            if fuse.after:
                super().wait(gen, *args, **kwargs)
            self.pgconn.finish()
            raise Crash

    return FusedConnection


class FusedSource(PostgresSource):
    """A source over such connections."""

    def __init__(self, name: str, settings: SourceSettings, fuse: Fuse) -> None:
        super().__init__(name, settings, key=KEY)
        self._class = fused(fuse)

    def _connect(self, **options: Any) -> psycopg.Connection[Any]:
        return self._class.connect(self._settings.url.get_secret_value(), autocommit=True, **options)


@dataclass
class World:
    """One test module's databases."""

    postgres: PostgresState
    name: str
    app: psycopg.Connection[Any]
    """The production application, in autocommit."""
    metrics: psycopg.Connection[Any]
    """The metrics database as superuser."""
    replica: psycopg.Connection[Any]
    settings: Settings
    goes_back = timedelta()
    """How much earlier the watermark of a heartbeat may be than that of the one before."""

    def session(self) -> psycopg.Connection[Any]:
        """Another session of the application, with transactions of its own."""
        return psycopg.connect(self.postgres.url("primary", "postgres", self.name))

    def migrate(self, *definitions: Definition) -> None:
        migrate(self.settings, {d.metric: d for d in definitions})

    def insert(self, happened_at: datetime, connection: psycopg.Connection[Any] | None = None, **columns: Any) -> int:
        row = {"zone": "a", "kind": "x", "state": "open", "amount": 1, "length": 1, "score": 1.0, **columns}
        found = (
            (connection or self.app)
            .execute(
                "INSERT INTO facts (happened_at, zone, kind, state, amount, length, score) VALUES"
                " (%(happened_at)s, %(zone)s, %(kind)s, %(state)s, %(amount)s, %(length)s, %(score)s) RETURNING id",
                {"happened_at": happened_at, **row},
            )
            .fetchone()
        )
        assert found is not None
        return int(found[0])

    def change(self, fact: int, connection: psycopg.Connection[Any] | None = None, **columns: Any) -> None:
        sets = ", ".join(f"{name} = %({name})s" for name in columns)
        (connection or self.app).execute(
            f"UPDATE facts SET {sets}, changed_at = now() WHERE id = %(id)s", {"id": fact, **columns}
        )

    def beat(self) -> None:
        self.app.execute(BEAT)

    def catch_up(self, limit_s: float = 30) -> None:
        """Wait until the replica shows all that the primary has committed."""
        # Flushed, not inserted: what no transaction has committed may stay in memory for long.
        lsn = self.app.execute("SELECT pg_current_wal_flush_lsn()").fetchone()[0]
        deadline = time.monotonic() + limit_s
        while not self.replica.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()[0]:
            assert time.monotonic() < deadline, "the replica does not catch up"
            time.sleep(0.002)

    def run(self, one: Definition, grain: Any = "minute", interval: Any = None, **more: Any) -> RunReport:
        """A run through the public door."""
        return run_metrics(self.settings, [one], grain, interval, options=QUICK, **more)[0]

    @contextmanager
    def engine_with(self, one: Definition, fuse: Fuse, options: RunOptions = QUICK) -> Iterator[Engine]:
        """An engine whose connections break where the fuse says."""
        source = FusedSource("operations", self.settings.source("operations"), fuse)
        try:
            yield Engine(one, source, lambda: connect_metrics(self.settings.metrics, options, fused(fuse)), options)
        finally:
            source.close()

    def forget(self, one: Definition) -> None:
        """Empty facts and the metric's tables."""
        self.empty()
        for level in one.levels:
            self.metrics.execute(f"TRUNCATE store.{one.table(level)}")
        self.metrics.execute(
            "UPDATE fleetgauge.ledger SET done = '{}', closed = '{}', cursor_at = NULL, beat_at = NULL,"
            " kept_from = NULL, late_unapplied = 0"
            " WHERE metric = %s",
            [one.metric],
        )
        for table in ("blocked", "dimension_value", "placement", "left_out", "emptied", "restatement"):
            self.metrics.execute(f"DELETE FROM fleetgauge.{table} WHERE metric = %s", [one.metric])

    def empty(self) -> None:
        """No facts, no heartbeat."""
        self.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")

    def stored(self, one: Definition, level: Level | str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """What the view says, keyed by window and dimensions."""
        level = _level(one, level)
        columns = ", ".join(["window_start", *level.dimensions, *(c.name for c in one.columns)])
        schema = "store" if counts_sets(one) else "metrics"  # the same rows, with the sketches
        rows = self.metrics.execute(f"SELECT {columns} FROM {schema}.{one.view(level)}").fetchall()
        n = 1 + len(level.dimensions)
        found = {(row[0].astimezone(UTC), *row[1:n]): row[n:] for row in rows}
        assert len(found) == len(rows)
        return found

    def expected(self, one: Definition, level: Level | str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """The same from all committed facts, without the engine, its SQL or Postgres' calendar."""
        level = _level(one, level)
        cells: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
        for happened_at, zone, kind, *rest in self.facts():
            start = window_start(happened_at.astimezone(UTC), level.grain, one.time_zone)
            values = {"zone": zone, "kind": kind}
            cells[start, *(values[n] for n in level.dimensions)].append([happened_at, *rest])
        return {key: _measures(rows) for key, rows in cells.items()}

    def facts(self) -> list[Any]:
        """All that are committed: event time, label of the zone, kind, and what is measured."""
        return self.app.execute(
            "SELECT happened_at, coalesce(zone, '(not set)'), kind, state, amount, length, score FROM facts"
        ).fetchall()

    def lie(self, by: timedelta) -> None:
        """A heartbeat of a clock that is wrong, until the next one."""
        self.app.execute(LIE, [by])

    def heartbeat(self) -> datetime:
        """The source watermark that the last one says."""
        found: datetime = self.app.execute(
            "SELECT least(beat_at, oldest_xact_start) FROM fleetgauge_heartbeat"
        ).fetchone()[0]
        return found

    def settle(self, one: Definition) -> None:
        """Until no change is so recent that the next run would read it again, for its hour is not compared then."""

    def break_contract(self, fact: int, *, deleted: bool) -> None:
        """What no change time tells of: a row that is deleted, or changed in silence."""
        if deleted:
            self.app.execute("DELETE FROM facts WHERE id = %s", [fact])
        else:
            self.app.execute("UPDATE facts SET amount = coalesce(amount, 0) + 3 WHERE id = %s", [fact])

    def ledger(self, one: Definition, grain: str) -> tuple[Any, Any]:
        """(done, closed)"""
        row = self.metrics.execute(
            "SELECT done, closed FROM fleetgauge.ledger WHERE metric = %s AND version = %s AND grain = %s",
            [one.metric, one.version, grain],
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    def assert_right(self, one: Definition) -> None:
        for level in one.levels:
            assert self.stored(one, level) == self.expected(one, level), level.name


def _level(one: Definition, level: Level | str) -> Level:
    return level if isinstance(level, Level) else next(found for found in one.levels if found.name == level)


def _measures(rows: list[Any]) -> tuple[Any, ...]:
    latest = max(((at, length) for at, _, _, length, _ in rows if length is not None), default=(None, None))
    rows = [rest for _, *rest in rows]
    lengths = [length for _, _, length, _ in rows if length is not None]
    scores = [score for *_, score in rows if score is not None]
    return (
        len(rows),
        sum(state == "open" for state, *_ in rows),
        sum(state in ("done", "paid") for state, *_ in rows),
        sum((amount for state, amount, *_ in rows if state != "open" and amount is not None), Decimal(0)),
        sum(lengths),
        min(lengths, default=None),
        max(scores, default=None),
        sketch(scores),
        distinct_sketch((length for state, _, length, _ in rows if state != "open" and length is not None), KEY),
        latest[1],
        latest[0],
    )


def window_start(at: datetime, grain: str, zone: str) -> datetime:
    """By zoneinfo, going back second by second from the plain guess where the offset changes: slow and plain."""
    tz = ZoneInfo(zone)
    if grain == "minute":
        return at.replace(second=0, microsecond=0)
    if grain == "day":
        date = at.astimezone(tz).date()
        return first_instant(lambda t: t.astimezone(tz).date() >= date, at - timedelta(hours=30), at)
    local = at.astimezone(tz)
    start = at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    if start.astimezone(tz).utcoffset() == local.utcoffset():
        return start
    return first_instant(lambda t: t.astimezone(tz).utcoffset() == local.utcoffset(), start, at)


def first_instant(holds: Callable[[datetime], bool], low: datetime, high: datetime) -> datetime:
    """The first whole second of (low, high] at which a condition holds that stays true."""
    low = low.replace(microsecond=0)
    high = high.replace(microsecond=0)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@contextmanager
def build(postgres: PostgresState, name: str, template: str = "template1") -> Iterator[World]:
    """Make the databases, the metrics database as a copy of one that may be migrated already; drop them afterwards."""
    admin_url = postgres.url("primary", "postgres", "postgres")
    metrics_admin_url = postgres.url("metrics", "postgres", "postgres")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(metrics_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER fleetgauge_owner")
    settings = Settings(
        metrics=MetricsSettings(
            url=SecretStr(postgres.url("metrics", "fleetgauge", name)),
            owner_url=SecretStr(postgres.url("metrics", "fleetgauge_owner", name)),
        ),
        sources={"operations": SourceSettings(url=SecretStr(postgres.url("replica", "fleetgauge_reader", name)))},
        rollup=RollupSettings(distinct_key=SECRET),
    )
    app = psycopg.connect(postgres.url("primary", "postgres", name), autocommit=True)
    app.execute(FACTS + HEARTBEAT)
    app.execute("GRANT SELECT ON facts, fleetgauge_heartbeat TO fleetgauge_reader")
    # Replay is for all databases of the cluster, so any of the replica's may be asked.
    replica = psycopg.connect(postgres.replica_admin_url, autocommit=True)
    metrics = psycopg.connect(postgres.url("metrics", "postgres", name), autocommit=True)
    world = World(postgres, name, app, metrics, replica, settings)
    world.catch_up()
    try:
        yield world
    finally:
        for connection in (app, replica, metrics):
            connection.close()
        for url in (admin_url, metrics_admin_url):
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
