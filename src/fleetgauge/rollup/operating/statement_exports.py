"""Which statements keep a replica busy, for Prometheus: what RDS Performance Insights shows, from pg_stat_statements.

A server counts since its start. What a chart needs is what came since the last look, so that a statement that is new
and heavy is seen at once, and not after it has outgrown the totals of months. Parts add up: what is not among the
heaviest is one statement, `(other)`.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres.guard import guard
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

EVERY_S = 30.0
MOST = 20
"""Statements of each source that are told apart at a time."""
OTHER = "(other)"
LABELS = ("source", "login", "statement")
EXPORTED = {
    "fleetgauge_source_statement_load": "Seconds of execution for each second, by statement: 1 is one session that is "
    "always busy with it. A statement counts when it ends.",
    "fleetgauge_source_statement_calls": "Calls per second that ended.",
    "fleetgauge_source_statement_rows": "Rows per second that they gave.",
    "fleetgauge_source_statement_blocks_read": "Blocks per second that were not in the server's own memory.",
    "fleetgauge_source_statement_temp_blocks": "Blocks per second of sorts and hashes that did not fit into memory.",
}
"""The names of all samples, with what they mean."""

_READ = """
SELECT id, coalesce(login, ''), statement, seconds, calls, row_count, blocks_read, temp_blocks
FROM fleetgauge_statements()
"""


@dataclass(frozen=True)
class Key:
    """One statement of one login; its text is without values."""

    id: int
    login: str
    statement: str


Work = tuple[float, ...]
"""Since the server's start, or for each second of a while; a number for each of `EXPORTED`."""
_LOAD, _CALLS = 0, 1
Totals = Mapping[Key, Work]


def rates(before: Totals, after: Totals, passed_s: float) -> dict[tuple[str, str], Work]:
    """What each login did with each statement for each second: the `MOST` heaviest, and all others of the login.

    A total that has become less was reset meanwhile, and counts from nothing.
    """
    nothing = (0.0,) * len(EXPORTED)
    grown = {}
    for key, work in after.items():
        old = before.get(key, nothing)
        since = nothing if old[_CALLS] > work[_CALLS] else old
        if work[_CALLS] > since[_CALLS]:
            grown[key] = tuple((now - then) / passed_s for now, then in zip(work, since, strict=True))
    heaviest = sorted(grown, key=lambda key: (-grown[key][_LOAD], key.id, key.login))
    summed: dict[tuple[str, str], list[Work]] = defaultdict(list)
    for number, key in enumerate(heaviest):
        summed[key.login, key.statement if number < MOST else OTHER].append(grown[key])
    return {name: tuple(map(sum, zip(*works, strict=True))) for name, works in summed.items()}


class StatementsCollector(Collector):
    """Asks each source in a thread of its own, twice a minute: a replica that is away must not hold up a scrape."""

    def __init__(self, settings: Settings, read: Callable[[str], Totals] | None = None) -> None:
        """`read` asks one source, and raises `FleetgaugeError`."""
        self._sources = tuple(sorted(settings.sources))
        self._read = read or (lambda name: _ask(settings, name))
        self._seen: dict[str, tuple[float, Totals]] = {}
        self._found: dict[str, dict[tuple[str, str], Work]] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks nobody."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What was done between the last two looks; of a source that does not answer, nothing."""
        for number, (name, meaning) in enumerate(EXPORTED.items()):
            family = GaugeMetricFamily(name, meaning, labels=LABELS)
            for source, works in sorted(self._found.items()):
                for (login, statement), work in sorted(works.items()):
                    family.add_metric([source, login, statement], work[number])
            yield family

    def refresh(self, now_s: float) -> None:
        """Look at every source; blocks. `now_s`: of a clock that only goes forward, in seconds."""
        for name in self._sources:
            try:
                totals = self._read(name)
            except FleetgaugeError as error:
                if name in self._seen or name not in self._found:
                    log.warning("statements of a source cannot be read", source=name, error=str(error))
                self._seen.pop(name, None)
                self._found[name] = {}
            else:
                if name in self._seen:
                    seen_s, before = self._seen[name]
                    self._found[name] = rates(before, totals, max(now_s - seen_s, 1e-3))
                self._seen[name] = now_s, totals

    def watch(self, stop: threading.Event) -> None:
        """Refresh in a thread until `stop` is set."""

        def run() -> None:
            self.refresh(time.monotonic())
            while not stop.wait(EVERY_S):
                self.refresh(time.monotonic())

        if self._sources:
            threading.Thread(target=run, name="statements", daemon=True).start()


def _ask(settings: Settings, name: str) -> Totals:
    database = postgres.source(name, settings.sources[name])
    with (
        closing(database.connect("exporter", session={})) as connection,
        database.translated(),
        connection.transaction(),
    ):
        guard(connection, database, settings.sources[name])
        return {Key(*row[:3]): tuple(map(float, row[3:])) for row in connection.execute(_READ)}
