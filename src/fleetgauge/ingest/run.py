"""Put a consumer together from settings and content, and run it."""

import time
from dataclasses import dataclass

import structlog

from fleetgauge import contracts
from fleetgauge.clock import Clock, SystemClock
from fleetgauge.contracts import ContractSet
from fleetgauge.errors import Terminal, Transient
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters import KafkaDeadLetters, PoisonLimit, ensure_topic
from fleetgauge.ingest.decode import Decoder
from fleetgauge.ingest.delivery import Delivery
from fleetgauge.ingest.http import StatusServer
from fleetgauge.ingest.index import POSITION, SUFFIX, Indices
from fleetgauge.ingest.metrics import Metrics
from fleetgauge.ingest.pipeline import Pipeline
from fleetgauge.ingest.service import Options, Service, Summary
from fleetgauge.ingest.sink import Bulk, ElasticsearchBulk
from fleetgauge.ingest.source import connect, goal_of
from fleetgauge.settings import Settings

_START_LIMIT_S = 30.0


@dataclass(frozen=True)
class Http:
    """Where `/metrics`, `/healthz` and `/readyz` are served."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one; the log names it."""


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
    options: Options,
    http: Http | None = None,
    *,
    clock: Clock | None = None,
    bulk: Bulk | None = None,
) -> Summary:
    """Run `consumer` until it is told to stop; blocks. `bulk` stands in for Elasticsearch in tests of faults.

    Raises `Stop` (nothing unsafe was committed), `Terminal` (somebody must change something) or `Transient`.
    """
    clock = clock or SystemClock()
    log = structlog.get_logger("fleetgauge.ingest").bind(consumer=consumer.name)
    compiled = contracts_of(settings, consumer)
    metrics = Metrics(consumer.name)
    sink = bulk or ElasticsearchBulk(settings.elasticsearch, connections=consumer.requests + 1)
    indices = Indices(sink, consumer.index, compiled)
    _prepare(indices)
    versions = ",".join(f"{kind}={version}" for kind, version in sorted(compiled.versions.items()))
    dead_letters = KafkaDeadLetters(settings.kafka, consumer, versions)
    delivery = Delivery(consumer.name, sink, indices, dead_letters, PoisonLimit(consumer.dead_letters), metrics)
    delivery.answered = True
    pipeline = Pipeline(consumer, Decoder(consumer, compiled, clock), delivery, metrics)
    ensure_topic(settings.kafka, consumer)
    goal = goal_of(settings.kafka, consumer, clock) if options.until_caught_up else None
    kafka = connect(settings.kafka, consumer)
    service = Service(consumer, kafka, pipeline, metrics, clock, options, goal)
    server = None
    try:
        if http is not None:
            server = StatusServer(
                http.host,
                http.port,
                metrics.registry,
                service.healthy,
                lambda: (
                    "Elasticsearch does not answer"
                    if not delivery.answered
                    else (None if service.assigned() else "no partitions assigned yet")
                ),
            )
            log.info("serving metrics", host=http.host, port=server.port)
        return service.run()
    finally:
        if server is not None:
            server.close()
        dead_letters.close()
        if isinstance(sink, ElasticsearchBulk):
            sink.close()


def _prepare(indices: Indices) -> None:
    """Install the template; a server that is just starting gets half a minute."""
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            return indices.prepare()
        except Transient as error:
            if time.monotonic() > deadline:
                raise Transient(f"{error}; start Elasticsearch, or correct elasticsearch.url") from None
            time.sleep(1.0)
