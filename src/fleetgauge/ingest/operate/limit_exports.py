"""Whether a dead-letter limit has stopped a consumer: its own process is gone then, so that the exporter tells it."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetgauge.errors import FleetgaugeError
from fleetgauge.ingest.check.lint_consumers import load_consumers
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters.acceptance import LimitState, limit_states
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

REACHED = "fleetgauge_ingest_limit_reached"
MEANING = "Partitions in which the limit of dead letters has stopped the consumer. Any: see fleetgauge dlq limit."
UNREAD = "fleetgauge_ingest_limit_unread"
UNREAD_MEANING = (
    "1 while nobody knows whether the limit has stopped the consumer: Kafka has not said so for five minutes."
)
EVERY_S = 60.0
_TRUE_FOR_S = 300.0


class LimitCollector(Collector):
    """Asks Kafka in a thread of its own, once a minute: a broker that is away must not hold up a scrape."""

    def __init__(self, settings: Settings, read: Callable[[Consumer], Sequence[LimitState]] | None = None) -> None:
        """`read` asks for one consumer, and raises `FleetgaugeError`; by default Kafka."""
        self._consumers = tuple(load_consumers(settings.content)[0].values())
        self._read = read or (lambda consumer: limit_states(settings.kafka, consumer))
        self._since = time.monotonic()
        self._found: dict[str, tuple[float, int | None]] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks nobody."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What was read within the last five minutes; what is older is not known any more, and told as that."""
        reached = GaugeMetricFamily(REACHED, MEANING, labels=["consumer"])
        unread = GaugeMetricFamily(UNREAD, UNREAD_MEANING, labels=["consumer"])
        for name in sorted(consumer.name for consumer in self._consumers):
            read_at, partitions = self._found.get(name, (self._since, None))
            known = time.monotonic() - read_at < _TRUE_FOR_S
            unread.add_metric([name], not known)
            if known and partitions is not None:
                reached.add_metric([name], partitions)
        yield from (reached, unread)

    def refresh(self) -> None:
        """Ask for every consumer; blocks. What cannot be asked is logged."""
        for consumer in self._consumers:
            try:
                halted = sum(1 for one in self._read(consumer) if one.halted)
            except FleetgaugeError as error:
                log.warning("limits of dead letters cannot be read", consumer=consumer.name, error=str(error))
            else:
                self._found[consumer.name] = time.monotonic(), halted

    def watch(self, stop: threading.Event) -> None:
        """Refresh in a thread until `stop` is set."""

        def run() -> None:
            self.refresh()
            while not stop.wait(EVERY_S):
                self.refresh()

        if self._consumers:
            threading.Thread(target=run, name="limits", daemon=True).start()
