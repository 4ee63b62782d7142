"""Facts in Postgres: a read replica, guarded in every transaction, or the metrics database itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from fleetgauge import postgres
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, IsolationLevel, sql
from fleetgauge.postgres.guard import guard
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress.heartbeat import SourceWatermark, of_sessions, of_snapshot
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources import postgres_columns, postgres_held, postgres_relations, postgres_sql, postgres_zones
from fleetgauge.rollup.sources.clock_steps import before_steps, token_of
from fleetgauge.rollup.sources.connecting import Connecting
from fleetgauge.rollup.sources.indexes import time_columns, unserved, warnings
from fleetgauge.rollup.sources.late_changes import late_changes
from fleetgauge.rollup.sources.port import ROLLUP, Row, key_of, latest_time, looking
from fleetgauge.rollup.sources.postgres_measures import INNER, OUTER
from fleetgauge.rollup.sources.postgres_plans import dear_on_postgres, explained
from fleetgauge.rollup.spans import MINUTE, Span, join
from fleetgauge.rollup.values import Cell, Cursor, LeftOut, Lost, Placed, Repeated, SourceRows, Touched, Unfollowed
from fleetgauge.settings import SourceSettings

_CHEAP = 100_000.0
"""The planner's cost up to which a question is asked in every run."""


@dataclass
class PostgresFacts:
    """See `Facts`: one read-only transaction. `source_watermark` is None while the source has no heartbeat row yet."""

    connection: Connection[Row]
    definition: Definition
    source_watermark: SourceWatermark | None
    token: Mapping[str, Any] | None = None
    all_counted: bool = False
    _late_since: datetime | None = None
    """From when on changes came behind the cursor, once `lost` has looked."""

    def first_event(self) -> datetime | None:
        """See `Facts`."""
        found: datetime | None = self._fetch(postgres_sql.first_event(self.definition))[0][0]
        return found

    def about(self, spans: Sequence[Span]) -> int:
        """See `Facts`. What the planner guesses."""
        return int(self.explain(postgres_sql.within(self.definition, spans))["Plan Rows"])

    def explain(self, query: sql.Composed | sql.SQL) -> Mapping[str, Any]:
        """The root of the query's plan. The query is not run."""
        return explained(self.connection, query)

    def dear(self, now: datetime) -> list[str]:
        """See `Facts`."""
        lacking = unserved(self.connection, time_columns(self.definition))
        return warnings(dear_on_postgres(self.connection, self.definition, now), lacking)

    def touched(self, since: Cursor, watermark: datetime, *, first: bool) -> Touched:
        """See `Facts`."""
        if self.definition.change_time is None:
            return Touched()
        at = before_steps(self.definition.metric, since, self.source_watermark)
        at = min(at, self._late_since or at)
        if self.definition.interval is not None:
            seen = since.at + MINUTE if at < since.at else None
            found = self._fetch(postgres_held.held_since(self.definition, at, watermark, seen))[0][0]
            return Touched(spans=[(r.lower, r.upper) for r in found or ()])
        query = postgres_sql.touched(self.definition, at, watermark if first else None, latest_time(self))
        if self.definition.key is None:
            return Touched([(row[0], tuple(row[1:])) for row in self._fetch(query)])
        rows = self._placed(query)
        return Touched(list({row.cell for row in rows if row.cell is not None}), rows=rows)

    def lost(self, since: Cursor | None) -> Lost:
        """See `Facts`. Rows that are deleted are `reconcile`'s to find."""
        late = late_changes(
            self.definition,
            since,
            self.source_watermark,
            lambda spans, upto: self._fetch(postgres_sql.changes(self.definition, spans, upto)),
        )
        self._late_since = late.since
        return Lost(token={**(self.token or {}), **late.token} or None)

    def windows(self, span: Span) -> list[Row]:
        """See `Facts`."""
        query = postgres_sql.windows(self.definition, span)
        return self._fetch(query) if self.definition.interval is not None else self._counted(query)

    def placed(self, span: Span) -> list[Placed]:
        """See `Facts`."""
        return self._placed(postgres_sql.placed(self.definition, span))

    def _placed(self, query: sql.Composed) -> list[Placed]:
        return [
            Placed(key, None if at is None else (at, tuple(values)), changed)
            for at, *values, key, changed in self._fetch(query)
        ]

    def cells(self, wanted: Sequence[Cell]) -> list[Row]:
        """See `Facts`."""
        if self.definition.interval is None:
            found = self._counted(postgres_sql.cells(self.definition, wanted))
            self.all_counted &= self.definition.key is None  # a change of a row without its key touches no cell
            return found
        # What holds in a minute is found for all cells at once.
        kept, n = set(wanted), 1 + len(self.definition.dimensions)
        spans = join(sorted({window for window, _ in wanted}))
        return [row for span in spans for row in self.windows(span) if (row[0], tuple(row[1:n])) in kept]

    def _counted(self, query: sql.Composed) -> list[Row]:
        found = self._fetch(query)
        self.all_counted = not any(row[-1] for row in found)
        return [row[:-2] for row in found if row[-2]]

    def left_out(self, spans: Sequence[Span]) -> list[LeftOut]:
        """See `Facts`."""
        query = postgres_sql.left_out(self.definition, spans) if spans else None
        found = [] if query is None else self._fetch(query)
        return [LeftOut(at, of, n, keys, without=of == self.definition.key) for at, of, n, keys in found]

    def out_of_range(self) -> list[LeftOut] | None:
        """See `Facts`. None where it would take a scan of the table."""
        query = self._rendered(postgres_sql.out_of_range(self.definition, latest_time(self)))
        if self.explain(query)["Total Cost"] > _CHEAP:
            return None
        event = self.definition.event_time
        return [LeftOut(None, event, count, keys or [], ahead) for ahead, count, keys in self._fetch(query)]

    def unfollowed(self) -> Unfollowed | None:
        """See `Facts`. None where it would take a scan of the table."""
        asked = postgres_sql.unfollowed(self.definition)
        if asked is None:
            return None
        query = self._rendered(asked)
        if self.explain(query)["Total Cost"] > _CHEAP:
            return None
        ((count, keys),) = self._fetch(query)
        return Unfollowed(count, keys or [])

    def source_rows(self, span: Span, where: Mapping[str, str]) -> SourceRows:
        """See `Facts`."""
        query = postgres_sql.source_rows(self.definition, span, where)
        (count,) = self._fetch(sql.SQL("SELECT count(*) FROM ({}) AS counted").format(query))[0]
        return SourceRows(count, query.as_string(self.connection))

    def repeated(self, before: datetime) -> Repeated | None:  # noqa: ARG002 (the port's signature)
        """See `Facts`. A table has its key."""
        return None

    def totals(self, edges: Sequence[datetime]) -> list[Row]:
        """See `Facts`."""
        return self._fetch(postgres_sql.totals(self.definition, edges))

    def _rendered(self, query: sql.Composed) -> sql.SQL:
        """For a query that is explained first: put together once."""
        return sql.SQL(query.as_string(self.connection))

    def _fetch(self, query: sql.Composed | sql.SQL) -> list[Row]:
        return self.connection.execute(query).fetchall()


def _of_this_dialect(definition: Definition) -> None:
    if definition.dialect != "postgres":
        file = f"sql/metrics/{definition.metric}/metric.yaml"
        raise Terminal(
            f"{file}:{definition.line('dialect')}: its source is a Postgres, and its dialect {definition.dialect}; "
            "remove the line and write source.sql for Postgres, or name another source"
        )


class PostgresSource:
    """A Postgres database. One connection, opened when first needed and again after a failure; not thread-safe."""

    def __init__(
        self, name: str, settings: SourceSettings, *, itself: bool = False, key: DistinctKey | None = None
    ) -> None:
        """`key`: of the fingerprints of persons. It is set with the session's start, which no server writes down."""
        self.name = name
        self.seconds = 0.0
        self._settings = settings
        self._database = postgres.source(name, settings, itself=itself)
        self._itself = itself  # the metrics database: written and read there, so no standby is asked for
        self._key = key
        self._opened: _Opened | None = None
        self._connecting = Connecting[_Opened]()

    @contextmanager
    def look(self, definition: Definition) -> Iterator[PostgresFacts]:
        """See `Source`."""
        with looking(self), self._database.translated():
            opened = self._open(key_of(definition, self._key))
            with self._transaction(opened, definition) as source_watermark:
                yield PostgresFacts(opened.connection, definition, source_watermark, token_of(source_watermark))

    def connect_ahead(self, definition: Definition) -> None:
        """See `Source`. All that precedes the first question is asked too: a new session is slow at first."""
        if self._opened is None:
            key = self._key if definition.personal else None
            self._connecting.begin(partial(self._begin, key, definition))

    def close(self) -> None:
        """See `Source`."""
        self._connecting.drop()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self, key: DistinctKey | None) -> "_Opened":
        self._opened = self._connecting.take() or self._opened
        if self._opened is not None and key is not None and not self._opened.has_key:
            self.close()
        if self._opened is None or self._opened.connection.closed:
            self._opened = self._connected(key)
        return self._opened

    def _begin(self, key: DistinctKey | None, definition: Definition) -> "_Opened":
        opened = self._connected(key)
        try:
            with self._transaction(opened, definition):
                return opened
        except BaseException:
            opened.close()
            raise

    @contextmanager
    def _transaction(self, opened: "_Opened", definition: Definition) -> Iterator[SourceWatermark | None]:
        """A guarded snapshot that the definition fits."""
        connection, source_watermark = opened.connection, None
        if self._itself:
            source_watermark = of_sessions(connection, f"{postgres.APPLICATION}-{ROLLUP}")
        with connection.transaction():
            guard(connection, self._database, self._settings, itself=self._itself)
            if not self._itself:
                source_watermark = of_snapshot(connection, self.name, self._settings.max_transaction_age_s)
            if definition.version not in opened.fitting:
                _of_this_dialect(definition)
                postgres_columns.check(connection, definition)
                postgres_relations.check(connection, definition)
                postgres_zones.check(connection, definition, self.name)
                opened.fitting.add(definition.version)
            yield source_watermark

    def _connected(self, key: DistinctKey | None) -> "_Opened":
        anything = self._itself or self._settings.allow_primary
        options = {"target_session_attrs": "any" if anything else "standby"}
        if key is not None:
            options["options"] = self._database.started_with({INNER: key.inner.hex(), OUTER: key.outer.hex()})
        connection = self._connect(**options)
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return _Opened(connection, key is not None)

    def _connect(self, **options: Any) -> Connection[Row]:
        return self._database.connect(ROLLUP, **options)


@dataclass
class _Opened:
    """A session on a source."""

    connection: Connection[Row]
    has_key: bool
    """Whether it can make fingerprints of persons."""
    fitting: set[str] = field(default_factory=set)
    """Versions of definitions whose columns and relations were looked at through it."""

    def close(self) -> None:
        self.connection.close()
