"""Put consumers together from settings and content, and run them in one process."""

import importlib.metadata
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_fixed,
)

from fleetgauge import contracts
from fleetgauge.clock import Clock, SystemClock
from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Bulk, ElasticsearchBulk
from fleetgauge.errors import FleetgaugeError, Terminal, Transient
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.check.subjects import Subjects, names_nobody
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.consumer_metrics import Families, Metrics
from fleetgauge.ingest.deadletters.acceptance import KafkaAcceptances
from fleetgauge.ingest.deadletters.dead_letter_sink import KafkaDeadLetters, ensure_topic
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deliver.delivery import Delivery
from fleetgauge.ingest.deliver.delivery_pipeline import Pipeline
from fleetgauge.ingest.deliver.reachable import WatchedBulk
from fleetgauge.ingest.indices.event_indices import POSITION, SUFFIX, Indices
from fleetgauge.ingest.operate.service import ConsumeOptions, Service, Summary
from fleetgauge.ingest.read import rewind as rewind
from fleetgauge.ingest.read.erased_list import ErasedList
from fleetgauge.ingest.read.source import connect, goal_of
from fleetgauge.ingest.stopping import StopRequest, on_signals, until_over
from fleetgauge.observability.status_server import Http, StatusServer
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress import topic_times
from fleetgauge.settings import Settings


def contracts_of(settings: Settings, consumer: Consumer) -> ContractSet:
    """The contracts that a consumer names. Raises `Terminal`."""
    known = contracts.load(settings.content / "schemas" / "events")
    missing = [kind for kind in consumer.contracts if kind not in known]
    if missing:
        raise Terminal(
            f"consumer {consumer.name} names contract {', '.join(missing)}, which schemas/events does not hold "
            f"(it has {', '.join(sorted(known))})"
        )
    return ContractSet((known[kind] for kind in consumer.contracts), reserved=(*SUFFIX, POSITION))


def consume(
    consumer: Consumer,
    settings: Settings,
    options: ConsumeOptions,
    http: Http | None = None,
    *,
    clock: Clock | None = None,
    bulk: Bulk | None = None,
) -> Summary:
    """`consume_all` of one."""
    return consume_all([consumer], settings, options, http, clock=clock, bulk=bulk)[0]


def consume_all(
    consumers: Sequence[Consumer],
    settings: Settings,
    options: ConsumeOptions,
    http: Http | None = None,
    *,
    clock: Clock | None = None,
    bulk: Bulk | None = None,
) -> list[Summary]:
    """Run consumers until they are told to stop; blocks. `bulk` stands in for Elasticsearch in tests of faults.

    If one fails, the others are asked to stop, drain and commit, and then its error is raised: `Stop` (nothing unsafe
    was committed), `Terminal` (somebody must change something) or `Transient`.
    """
    stop = StopRequest()
    families = Families()
    running = [_Running(one, settings, options, families, clock or SystemClock(), stop, bulk) for one in consumers]
    try:
        with (
            on_signals(stop),
            _served(http, families, running),
            ThreadPoolExecutor(len(running), thread_name_prefix="consumer") as pool,
        ):
            futures = [pool.submit(one.run) for one in running]
            until_over(futures)
            failed = [future.done() and future.exception() is not None for future in futures]
            if any(failed):
                stop.ask()
    finally:
        for one in running:
            one.close()
    for first in (future for future, one_failed in zip(futures, failed, strict=True) if one_failed):
        first.result()
    return [future.result() for future in futures]


class _Running:
    """One consumer of the process, in a thread of its own."""

    def __init__(
        self,
        consumer: Consumer,
        settings: Settings,
        options: ConsumeOptions,
        families: Families,
        clock: Clock,
        stop: StopRequest,
        bulk: Bulk | None,
    ) -> None:
        """Connects to nothing. Raises `Terminal` for content or settings that cannot be used."""
        self.consumer = consumer
        self._settings = settings
        self._options = options
        self._clock = clock
        self._stop = stop
        self._log = structlog.get_logger("fleetgauge.ingest").bind(consumer=consumer.name)
        self._contracts = contracts_of(settings, consumer)
        self._metrics = Metrics(consumer.name, families)
        self._own = None if bulk else ElasticsearchBulk(settings.elasticsearch, connections=consumer.requests + 2)
        self._bulk = WatchedBulk(bulk or self._own)  # type: ignore[arg-type] # one of them is there
        self._service: Service | None = None
        self._delivery: Delivery | None = None
        self._erased: ErasedList | None = None

    def healthy(self) -> str | None:
        """For `/healthz`; any thread."""
        return self._service.healthy() if self._service is not None else None

    def ready(self) -> str | None:
        """For `/readyz`; any thread."""
        wrong = self._bulk.wrong()
        if wrong is None and self._delivery is not None:
            wrong = self._delivery.stalled()
        if wrong is None and (self._service is None or not self._service.assigned()):
            wrong = "no partitions assigned yet"
        if wrong is None and self._service is not None:
            wrong = self._service.silent() or self._service.uncommitted()
        return wrong

    def run(self) -> Summary:
        """Blocks; see `consume_all`."""
        try:
            summary = self._run()
        except FleetgaugeError as error:
            self._log.error("failed", error=str(error), exit_code=error.exit_code)
            raise
        self._log.info("ended", **{key: value for key, value in asdict(summary).items() if key != "consumer"})
        return summary

    def _run(self) -> Summary:
        consumer, settings, metrics = self.consumer, self._settings, self._metrics
        versions = ",".join(f"{kind}={version}" for kind, version in sorted(self._contracts.versions.items()))
        metrics.of(m.BUILD, importlib.metadata.version("fleetgauge"), versions).set(1)
        indices = Indices(self._bulk, consumer.index, self._contracts, consumer.retention, consumer.new_days)
        if not self._prepare(indices):
            return Summary(consumer.name, {})
        self._bulk.keep_asking()
        dead_letters = KafkaDeadLetters(settings.kafka, consumer, versions)
        try:
            guard = DeadLetterGuard(
                consumer.name, consumer.dead_letters, KafkaAcceptances(settings.kafka, consumer), self._tell_quarantined
            )
            delivery = Delivery(
                consumer.name,
                self._bulk,
                indices,
                dead_letters,
                guard,
                metrics,
                short_lived=self._contracts.short_lived,
            )
            self._delivery = delivery
            self._bulk.on_return = delivery.try_now
            key = settings.kafka.replay_key.get_secret_value() if settings.kafka.replay_key is not None else None
            decoder = Decoder(consumer, self._contracts, self._clock, key, self._subjects())
            pipeline = Pipeline(consumer, decoder, delivery, metrics, guard)
            self._log.info("connecting to Kafka", servers=settings.kafka.bootstrap_servers)
            ensure_topic(settings.kafka, consumer)
            if warning := topic_times.warning(settings.kafka, consumer.topic):
                self._log.warning(warning)
            if self._options.rewind is not None:
                rewind.apply(settings.kafka, consumer, self._options.rewind)
            goal = goal_of(settings.kafka, consumer, self._clock) if self._options.until_caught_up else None
            kafka = connect(settings.kafka, consumer)
            self._service = Service(consumer, kafka, pipeline, metrics, self._clock, self._options, self._stop, goal)
            summary = self._service.run()
        finally:
            dead_letters.close()
        if summary.caught_up and self._options.rewind is not None:
            rewind.finish(settings.kafka, consumer)
        return summary

    def _subjects(self) -> Subjects | None:
        """Who has been erased, where contracts name persons."""
        if names_nobody(self._contracts):
            return None
        key = DistinctKey.of(self._settings.rollup.distinct_key)
        if key is None:
            raise Terminal(
                f"contracts of consumer {self.consumer.name} name persons (subject), and rollup.distinct_key is not "
                "set, without which nobody knows who has been erased; make one with fleetgauge metrics key"
            )
        self._erased = ErasedList(self._bulk, key)
        return Subjects(self._contracts, self._erased)

    def _tell_quarantined(self, value: str, partitions: int) -> None:
        if partitions:
            self._metrics.of(m.QUARANTINED, value).set(partitions)
        else:
            self._metrics.drop(m.QUARANTINED, value)

    def close(self) -> None:
        """Close the connections to Elasticsearch."""
        if self._erased is not None:
            self._erased.close()
        self._bulk.close()
        if self._own is not None:
            self._own.close()

    def _prepare(self, indices: Indices) -> bool:
        """Install the template; a server that is just starting gets its time. False if asked to stop meanwhile."""
        started, limit_s = time.monotonic(), self._settings.elasticsearch.start_limit_s

        def tell(state: RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome is not None:
                self._log.warning("waiting for Elasticsearch", seconds=limit_s, because=str(state.outcome.exception()))

        asked = self._stop.asked
        try:
            Retrying(
                retry=retry_if_exception_type(Transient),
                stop=stop_after_delay(limit_s) | stop_when_event_set(asked),
                wait=wait_fixed(1.0),
                sleep=sleep_using_event(asked),
                before_sleep=tell,
                reraise=True,
            )(lambda: self._metrics.of(m.TEMPLATE_NEWER).set(len(indices.prepare())))
        except Transient as error:
            if asked.is_set():
                return False
            raise Transient(
                f"{error}; waited {time.monotonic() - started:.0f} s; start Elasticsearch, or correct elasticsearch.url"
            ) from None
        return not asked.is_set()


@contextmanager
def _served(http: Http | None, families: Families, running: Sequence[_Running]) -> Iterator[None]:
    """Metrics and checks over HTTP while the block runs, from before the first connection on."""
    if http is None:
        yield
        return
    server = StatusServer(
        http,
        families.registry,
        {one.consumer.name: one.healthy for one in running},
        {one.consumer.name: one.ready for one in running},
    )
    log = structlog.get_logger("fleetgauge.ingest")
    log.info("serving metrics", consumers=[one.consumer.name for one in running], host=http.host, port=server.port)
    try:
        yield
    finally:
        server.close()
