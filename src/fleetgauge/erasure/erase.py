"""The whole of an erasure: first nobody stores the person again, then one store after the other, then the receipt.

Each step is idempotent. Broken off anywhere, the same command goes on; the receipt adds up what all tries have done.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime

from fleetgauge import postgres
from fleetgauge.clock import Clock, SystemClock
from fleetgauge.elasticsearch.transport import Bulk, ElasticsearchBulk
from fleetgauge.erasure.found import ErasureStep, Found, Tell, together
from fleetgauge.erasure.freed_dead_letters import UNREADABLE, FreedDeadLetters, log_until
from fleetgauge.erasure.metrics_store import Fingerprints, Texts
from fleetgauge.erasure.receipt import Receipt, ReceiptBook, prints_of, receipts
from fleetgauge.erasure.stored_events import StoredEvents
from fleetgauge.errors import Stop, Terminal
from fleetgauge.ingest.check.lint_consumers import load_consumers
from fleetgauge.ingest.check.subjects import names_nobody
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.operate.launch import contracts_of
from fleetgauge.ingest.read import erased_list
from fleetgauge.postgres import Connection
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.privacy.identity import RIDER, Identity, digest, names_of
from fleetgauge.settings import Settings


@dataclass(frozen=True)
class ErasureOrder:
    """Who is to be erased, and where exports lie, which nobody else knows."""

    id: str
    asked_by: str
    subject: str = RIDER
    exports: tuple[str, ...] = ()
    """Folders or URIs of `fleetgauge export`."""


def erase(
    settings: Settings,
    order: ErasureOrder,
    *,
    dry_run: bool = False,
    clock: Clock | None = None,
    bulk: Bulk | None = None,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[str], None] = lambda _step: None,
) -> Receipt:
    """Erase, or with `dry_run` count what names the person; blocks, with one pause of seconds for the consumers.

    `tell` is given each step's name as it begins, which holds no id. `bulk` stands in for Elasticsearch in tests of
    faults. Raises `Terminal`, `Transient`, `Stop`; whatever it raises, the same again goes on where this one stood.
    """
    key = DistinctKey.of(settings.rollup.distinct_key)
    if key is None:
        raise Terminal(
            "rollup.distinct_key is not set, by which fingerprints and the receipt tell persons apart; set the one of "
            "the runs (FLEETGAUGE_ROLLUP__DISTINCT_KEY), or make one with fleetgauge metrics key"
        )
    if not order.id.strip() or order.id != order.id.strip() or len(order.id) > 200:
        raise Terminal("the id is empty, longer than 200 characters, or begins or ends with a space; name one id")
    now = (clock or SystemClock()).now()
    consumers = _consumers(settings)
    own = None if bulk is not None else ElasticsearchBulk(settings.elasticsearch, connections=1)
    try:
        with _writing(settings) as connection:
            work = _Erasing(settings, order, key, consumers, bulk or own, connection)  # type: ignore[arg-type]
            return work.look(now) if dry_run else work.erase(now, sleep, tell)
    finally:
        if own is not None:
            own.close()


def written_receipts(settings: Settings) -> Sequence[Receipt]:
    """Of all erasures; blocks."""
    with _writing(settings) as connection:
        return receipts(connection)


@contextmanager
def _writing(settings: Settings) -> Iterator[Connection]:
    database = postgres.metrics(settings.metrics)
    with closing(database.connect("erase", session={"lock_timeout": "60s"})) as connection, database.translated():
        yield connection


def _consumers(settings: Settings) -> list[Consumer]:
    consumers, problems = load_consumers(settings.content)
    if problems:
        raise Terminal(f"{problems[0]}; nobody knows which indices and topics it has, so nothing is erased")
    alike = {(one.topic, one.index): one for one in consumers.values()}  # a replay beside the running one is the same
    return list(alike.values())


@dataclass(frozen=True)
class _Erasing:
    settings: Settings
    order: ErasureOrder
    key: DistinctKey
    consumers: Sequence[Consumer]
    bulk: Bulk
    connection: Connection

    def look(self, now: datetime) -> Receipt:
        """What names the person now."""
        found = self._look()
        until = self._until(now)
        told = {topic: None if at is None else at.isoformat() for topic, at in until.items()}
        who = digest(self.order.id, self.key)
        return Receipt(self.order.subject, self.key.id, who, self.order.asked_by, now, None, found, told)

    def erase(self, now: datetime, sleep: Callable[[float], None], tell: Callable[[str], None]) -> Receipt:
        """All of it, and a second look that finds nothing."""
        book = ReceiptBook(self.connection, self._identity, self.order.subject, self.key)
        book.begin(self.order.asked_by)  # from here on no run stores a fingerprint of the person
        if self.consumers:
            erased_list.add(self.bulk, self.key, digest(self.order.id, self.key), self.order.subject)
            if not all(names_nobody(contracts_of(self.settings, one)) for one in self.consumers):
                tell("consumers learn of it")
                sleep(erased_list.SETTLED_S)
        self._pass(book.note, tell, dry_run=False)
        tell("a second look")
        if left := [one for one in self._look() if one.what != UNREADABLE]:
            raise Stop(
                f"{left[0].store} still names the person in {left[0].count} {left[0].what}; something that does not "
                "know of the erasure writes there (a consumer or a run of an older version, with another key); stop it "
                "and erase again"
            )
        return book.finish(self._until(now))

    def _look(self) -> tuple[Found, ...]:
        found: list[Found] = []
        self._pass(found.append, lambda _step: None, dry_run=True)
        return together(found)

    def _pass(self, note: Tell, tell: Callable[[str], None], *, dry_run: bool) -> None:
        for step in self._steps():
            tell(step.name)
            step.run(note, dry_run=dry_run)

    @property
    def _identity(self) -> Identity:
        fields = (
            path
            for one in self.consumers
            for contract in contracts_of(self.settings, one).contracts
            for path, of in contract.subjects.items()
            if of == self.order.subject
        )
        return Identity(self.order.id, names_of(self.order.subject, fields))

    def _steps(self) -> Iterator[ErasureStep]:
        identity, subject = self._identity, self.order.subject
        for consumer in self.consumers:
            contracts = contracts_of(self.settings, consumer)
            yield StoredEvents(self.bulk, consumer, contracts, identity, subject)
            yield FreedDeadLetters(self.settings.kafka, consumer, contracts, identity, subject)
        yield Fingerprints(self.connection, prints_of(identity, self.key))
        yield Texts(postgres.metrics(self.settings.metrics), identity)
        if self.order.exports:
            from fleetgauge.erasure.exported_files import ExportedFiles

            for destination in self.order.exports:
                yield ExportedFiles(destination, identity)

    def _until(self, now: datetime) -> dict[str, datetime | None]:
        topics = [one.topic for one in self.consumers]
        return log_until(self.settings.kafka, topics, now) if topics else {}
