"""Facts in MariaDB or MySQL: a read replica, guarded in every transaction.

The fingerprints of persons are made here of the values, one for each cell: these servers have no HMAC, and nothing to
hold a key that their logs and statistics would not show.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fleetgauge.errors import sure
from fleetgauge.mysql import MysqlSession, mysql_source
from fleetgauge.mysql.replica_guard import guard_replica
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.progress.mysql_heartbeat import of_mysql_snapshot
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Distinct, Last, Percentile, Tally
from fleetgauge.rollup.sources import mysql_relations, mysql_sql
from fleetgauge.rollup.sources.clock_steps import before_steps, token_of
from fleetgauge.rollup.sources.connecting import Connecting
from fleetgauge.rollup.sources.indexes import LARGE, time_columns, warnings
from fleetgauge.rollup.sources.late_changes import late_changes
from fleetgauge.rollup.sources.mysql_columns import mysql_columns
from fleetgauge.rollup.sources.mysql_parts import SourceColumns
from fleetgauge.rollup.sources.mysql_plans import Scan, dear_on_mysql, scans, unserved_by_mysql
from fleetgauge.rollup.sources.mysql_rows import Gathered, left_out_by_column, shown, text_of
from fleetgauge.rollup.sources.port import Row, key_of, latest_time, looking
from fleetgauge.rollup.spans import Span, join
from fleetgauge.rollup.values import Cell, Cursor, LeftOut, Lost, Placed, Repeated, SourceRows, Touched, Unfollowed
from fleetgauge.settings import SourceSettings

SPANS = 200
"""Separate stretches of time in one question, each of them a range of an index."""
NEVER, LAST_CHANGE = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Of a row without a time of change, and of one that is changed later; an offset from them is one that Python holds."""


@dataclass
class MysqlFacts:
    """See `Facts`: one read-only transaction. `source_watermark` is None while the source has no heartbeat row yet."""

    session: MysqlSession
    columns: SourceColumns
    source_watermark: SourceWatermark | None
    key: DistinctKey | None = None
    """Of the fingerprints of persons."""
    token: Mapping[str, Any] | None = None
    _late_since: datetime | None = None
    """From when on changes came behind the cursor, once `lost` has looked."""

    @property
    def definition(self) -> Definition:
        """Of the metric."""
        return self.columns.definition

    def first_event(self) -> datetime | None:
        """See `Facts`."""
        ((found,),) = self.session.rows(mysql_sql.first_event(self.columns))
        return None if found is None else self._instant(self.definition.event_time, found)

    def about(self, spans: Sequence[Span]) -> int:
        """See `Facts`. What the optimiser guesses."""
        return max((scan.rows for scan in self.scans(mysql_sql.counted_rows(self.columns, spans))), default=0)

    def scans(self, query: str) -> list[Scan]:
        """How each table of the query would be read. The query is not run."""
        return scans(self.session, query)

    def dear(self, now: datetime) -> list[str]:
        """See `Facts`."""
        lacking = unserved_by_mysql(self.session, time_columns(self.definition))
        return warnings(dear_on_mysql(self.session, self.columns, now), lacking)

    def touched(self, since: Cursor, watermark: datetime, *, first: bool) -> Touched:
        """See `Facts`."""
        if self.definition.change_time is None:
            return Touched()
        at = before_steps(self.definition.metric, since, self.source_watermark)
        at = min(at, self._late_since or at)
        query = mysql_sql.touched(self.columns, at, watermark if first else None, latest_time(self))
        if self.definition.key is None:
            return Touched([self._cell(row) for row in self.session.rows(query)])
        rows = self._placed(query)
        return Touched(list({row.cell for row in rows if row.cell is not None}), rows=rows)

    def lost(self, since: Cursor | None) -> Lost:
        """See `Facts`. Rows that are deleted are `reconcile`'s to find."""
        late = late_changes(
            self.definition,
            since,
            self.source_watermark,
            lambda spans, upto: self.session.rows(mysql_sql.changes(self.columns, spans, upto)),
        )
        self._late_since = late.since
        return Lost(token={**(self.token or {}), **late.token} or None)

    def windows(self, span: Span) -> list[Row]:
        """See `Facts`."""
        return self._rows([span])

    def placed(self, span: Span) -> list[Placed]:
        """See `Facts`."""
        return self._placed(mysql_sql.placed(self.columns, span))

    def cells(self, wanted: Sequence[Cell]) -> list[Row]:
        """See `Facts`. Reads what lies in the cells' minutes and has one of their values, and leaves out the rest."""
        kept, n = set(wanted), 1 + len(self.definition.dimensions)
        spans = join(sorted({window for window, _ in wanted}))
        rows: list[Row] = []
        for at in range(0, len(spans), SPANS):
            some = spans[at : at + SPANS]
            texts = zip(*(v for window, v in wanted if some[0][0] <= window < some[-1][1]), strict=True)
            columns = (dimension.column for dimension in self.definition.dimensions.values())
            labels = [self.columns.labelled(column, of) for column, of in zip(columns, texts, strict=True)]
            rows += [row for row in self._rows(some, *labels) if (row[0], row[1:n]) in kept]
        return rows

    @property
    def all_counted(self) -> bool:
        """See `Facts`. Not known."""
        return False

    def left_out(self, spans: Sequence[Span]) -> list[LeftOut]:
        """See `Facts`."""
        found: list[LeftOut] = []
        for at in range(0, len(spans), SPANS):
            query = mysql_sql.left_out(self.columns, spans[at : at + SPANS])
            if query is not None:
                by_column = left_out_by_column(self.session.rows(query), self._minute)
                found += [
                    LeftOut(*at, n, keys, without=at[1] == self.definition.key) for at, (n, keys) in by_column.items()
                ]
        return found

    def out_of_range(self) -> list[LeftOut] | None:
        """See `Facts`. None where it would take a scan of a large table."""
        query = mysql_sql.out_of_range(self.columns, latest_time(self))
        if self._large(query):
            return None
        found: dict[bool, tuple[int, list[str]]] = {}
        for ahead, count, key in self.session.rows(query):
            found.setdefault(bool(ahead), (int(count), []))[1].append(text_of(key))
        event = self.definition.event_time
        return [LeftOut(None, event, count, keys, ahead) for ahead, (count, keys) in found.items()]

    def unfollowed(self) -> Unfollowed | None:
        """See `Facts`. None where it would take a scan of a large table."""
        if self.definition.change_time is None:
            return None
        query = mysql_sql.unfollowed(self.columns)
        if self._large(query):
            return None
        rows = self.session.rows(query)
        return Unfollowed(int(rows[0][0]) if rows else 0, [text_of(key) for _, key in rows])

    def _large(self, query: str) -> bool:
        return any(scan.whole and scan.rows > LARGE for scan in self.scans(query))

    def source_rows(self, span: Span, where: Mapping[str, str]) -> SourceRows:
        """See `Facts`."""
        query = mysql_sql.source_rows(self.columns, span, where)
        ((count,),) = self.session.rows(f"SELECT COUNT(*) FROM ({query}) AS counted")
        return SourceRows(int(count), query)

    def repeated(self, before: datetime) -> Repeated | None:  # noqa: ARG002 (the port's signature)
        """See `Facts`. A table has its key."""
        return None

    def totals(self, edges: Sequence[datetime]) -> list[Row]:
        """See `Facts`."""
        by_stretch = mysql_sql.by_stretch(self.columns, edges)
        return self._gathered(self.columns.within([(edges[0], edges[-1])]), by_stretch, int)

    def _rows(self, spans: Sequence[Span], *conditions: str) -> list[Row]:
        span = " AND ".join([self.columns.within(spans), *conditions])
        return self._gathered(span, mysql_sql.by_minute(self.columns), self._minute)

    def _gathered(self, span: str, by: str, window: Callable[[int], Any]) -> list[Row]:
        """The rows that `span` is true of, by the expression `by`; `window` reads its values."""
        columns, definition = self.columns, self.definition
        found = Gathered(definition.columns, len(definition.dimensions), window)
        found.numbers(mysql_sql.numeric(columns), self.session.rows(mysql_sql.numbers(columns, span, by)))
        for column in definition.columns:
            measure = column.measure
            if isinstance(measure, Percentile | Tally | Distinct) and not column.beside:
                found.values(column, self.session.rows(mysql_sql.values(columns, measure, span, by)), self.key)
            if isinstance(measure, Last) and not column.beside:
                answer = self.session.rows(mysql_sql.latest(columns, measure, span, by))
                found.latest(column, answer, columns.offset(definition.event_time))
        return found.rows

    def _placed(self, query: str) -> list[Placed]:
        return [
            Placed(shown(key), None if minute is None else self._cell((minute, *values)), self._changed_at(changed))
            for minute, *values, key, changed in self.session.rows(query)
        ]

    def _cell(self, row: Sequence[Any]) -> Cell:
        return self._minute(row[0]), tuple(shown(value) for value in row[1:])

    def _minute(self, number: int) -> datetime:
        return self.columns.instant(self.definition.event_time, number)

    def _changed_at(self, value: datetime | None) -> datetime:
        if value is None:
            return NEVER
        change_time = sure(self.definition.change_time, "change_time")
        return min(value.replace(tzinfo=UTC), LAST_CHANGE) - self.columns.offset(change_time)

    def _instant(self, column: str, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) - self.columns.offset(column)


class MysqlSource:
    """A MariaDB or MySQL. One connection, opened when first needed and again after a failure; not thread-safe."""

    def __init__(self, name: str, settings: SourceSettings, *, key: DistinctKey | None = None) -> None:
        """`key`: of the fingerprints of persons. It never leaves this process."""
        self.name = name
        self.seconds = 0.0
        self._settings = settings
        self._database = mysql_source(name, settings)
        self._key = key
        self._session: MysqlSession | None = None
        self._connecting = Connecting[MysqlSession]()
        self._columns: dict[str, SourceColumns] = {}
        """By versions of definitions, as this connection was told them."""

    @contextmanager
    def look(self, definition: Definition) -> Iterator[MysqlFacts]:
        """See `Source`."""
        with looking(self), self._database.translated():
            key = key_of(definition, self._key)
            if self._session is None:
                self._session = self._connecting.take() or self._connect()
            session = self._session
            with session.snapshot():
                guard_replica(session, self._database, self._settings)
                source_watermark = of_mysql_snapshot(session, self.name)
                if definition.version not in self._columns:
                    kinds = mysql_columns(session, definition)
                    mysql_relations.check(session, definition)
                    self._columns[definition.version] = SourceColumns(definition, kinds)
                columns = replace(self._columns[definition.version], definition=definition)
                yield MysqlFacts(session, columns, source_watermark, key, token_of(source_watermark))

    def connect_ahead(self, definition: Definition) -> None:  # noqa: ARG002
        """See `Source`."""
        if self._session is None:
            self._connecting.begin(self._connect)

    def close(self) -> None:
        """See `Source`."""
        self._connecting.drop()
        if self._session is not None:
            self._session.close()
            self._session = None
            self._columns.clear()

    def _connect(self) -> MysqlSession:
        return self._database.connect(self._settings.statement_timeout_s)
