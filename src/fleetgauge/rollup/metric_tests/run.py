"""Runs the tests of metrics on the metrics database: the real engine, in one transaction that is rolled back."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.postgres import AnswersInTime, Connection, Error, Transaction, sql
from fleetgauge.postgres.postgres_errors import translate
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.parts import Retention
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.execute.report import RunReport
from fleetgauge.rollup.metric_tests.compare import Mismatch, differences
from fleetgauge.rollup.metric_tests.documents import GivenDocuments
from fleetgauge.rollup.metric_tests.file import GivenRow, MetricTest, columns
from fleetgauge.rollup.metric_tests.given import stand_in
from fleetgauge.rollup.metric_tests.translated import in_postgres
from fleetgauge.rollup.sources.port import ROLLUP, Row, Source
from fleetgauge.rollup.sources.postgres import PostgresFacts
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.store.migrate import create
from fleetgauge.rollup.store.publish import publication
from fleetgauge.rollup.store.tables import STORE, VIEWS, WRITER
from fleetgauge.rollup.store.views import counts_sets
from fleetgauge.settings import Settings

NAME = "metric_test"
"""What the metric is called meanwhile, so that its own tables are not touched."""


@dataclass(frozen=True)
class MetricTestResult:
    """What became of one test."""

    metric: str
    test: str
    differences: tuple[Mismatch, ...]
    error: str | None
    """Why it could not be run to its end."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.differences and self.error is None


class Rehearsal(AnswersInTime):
    """A session whose transactions all lie in a first one, which its caller rolls back."""

    depth = 0
    staging = False

    @contextmanager
    def transaction(self, *args: Any, **kwargs: Any) -> Iterator[Transaction]:
        """As always; the engine's own tables go after each transaction, whose COMMIT empties them otherwise."""
        with super().transaction(*args, **kwargs) as found:
            self.depth += 1
            try:
                yield found
            finally:
                self.depth -= 1
            if self.depth == 1 and self.staging:
                self._forget()

    def again(self) -> "Rehearsal":
        """What the engine gets as its new connection: this one, without what an earlier one has made."""
        self._forget()
        self.staging = True
        return self

    def _forget(self) -> None:
        # The engine makes them when it needs them.
        self.execute("DROP TABLE IF EXISTS pg_temp.staged, pg_temp.withheld")

    def close(self) -> None:
        """The engine gives its connection back; here the transaction goes on. `closing` ends it."""

    def end(self) -> None:
        """Close it."""
        super().close()


class GivenSource:
    """See `Source`: the tables that a test gives, in its own session, as they are at an instant."""

    def __init__(self, connection: Connection[Row], now: datetime) -> None:
        self.name = "of the test"
        self.seconds = 0.0
        self._connection = connection
        self._now = now

    @contextmanager
    def look(self, definition: Definition) -> Iterator[PostgresFacts]:
        """See `Source`."""
        try:
            yield PostgresFacts(self._connection, definition, SourceWatermark(self._now, self._now))
        except Error as error:
            raise translate(error, "source.sql on the given rows", "metrics.url", "correct one of the two") from error

    def connect_ahead(self, definition: Definition) -> None:
        """See `Source`."""

    def close(self) -> None:
        """See `Source`."""


def run_tests(
    settings: Settings,
    tests: Iterable[tuple[Definition, MetricTest]],
    streams: Mapping[str, EventStream] | None = None,
) -> Iterator[MetricTestResult]:
    """Run them one after another; blocks. Leaves nothing behind: no test is ever committed.

    `streams`: the sources that are documents; their tests use the Elasticsearch of the settings. Raises
    `FleetgaugeError` when the metrics database cannot be used at all.
    """
    connection = postgres.metrics(settings.metrics).connect_as(
        Rehearsal, f"{ROLLUP}-writer", session=RunOptions().session
    )
    with closing(_Ending(connection)):
        if connection.execute("SELECT to_regclass('fleetgauge.ledger')").fetchone() == (None,):
            raise Terminal("the metrics database has no ledger; run fleetgauge migrate")
        for definition, test in tests:
            yield _run(connection, definition, test, _given(settings, connection, definition, test, streams or {}))


@dataclass(frozen=True)
class _Ending:
    connection: Rehearsal

    def close(self) -> None:
        self.connection.end()


def _given(
    settings: Settings,
    connection: Rehearsal,
    definition: Definition,
    test: MetricTest,
    streams: Mapping[str, EventStream],
) -> Source:
    if definition.documents is None:
        return GivenSource(connection, test.now)
    fields = streams[definition.source].fields
    return GivenDocuments(settings.elasticsearch, fields, test.given[definition.source], test.now)


def _run(connection: Rehearsal, definition: Definition, test: MetricTest, source: Source) -> MetricTestResult:
    began = time.perf_counter()
    found: tuple[Mismatch, ...] = ()
    said = None
    try:
        connection.staging = False
        with closing(source), connection.transaction(force_rollback=True):
            found = tuple(_differences(connection, definition, test, source))
    except FleetgaugeError as error:
        said = str(error)
    except Error as error:
        said = str(translate(error, "the given rows", "metrics.url", f"correct {test.shown}"))
    return MetricTestResult(definition.metric, test.name, found, said, round(time.perf_counter() - began, 3))


def _differences(connection: Rehearsal, definition: Definition, test: MetricTest, source: Source) -> Iterator[Mismatch]:
    definition = in_postgres(definition)
    one = replace(
        definition,
        metric=NAME,
        source_sql=stand_in(connection, definition, test) if definition.documents is None else "",
        retention=Retention(),
        source_kept=None,
        views_sql=None,
        distinct_key=None,  # nothing of it stays, so whoever writes a test needs no key
    )
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
    create(connection, one)
    publication(connection, one)
    connection.execute("RESET ROLE")
    _complain(Engine(one, source, connection.again, RunOptions(tries=1, tolerance=None)).run("minute"))
    levels = {level.name: level for level in one.levels}
    for name, expected in test.expect.items():
        yield from differences(one, levels[name], expected, _rows(connection, one, name))


def _complain(report: RunReport) -> None:
    if report.blocked:
        first = report.blocked[0]
        raise Terminal(f"check {first.check!r} is broken in the minute of {first.window_start:%Y-%m-%dT%H:%MZ}")


def _rows(connection: Rehearsal, one: Definition, name: str) -> list[GivenRow]:
    level = next(level for level in one.levels if level.name == name)
    names = columns(one, level)
    rows = connection.execute(
        sql.SQL("SELECT {} FROM {} ORDER BY window_start").format(
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.Identifier(STORE if counts_sets(one) else VIEWS, one.view(level)),
        )
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]
