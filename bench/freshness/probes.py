"""Changes that are made to be seen: committed or appended at a known moment, and looked for with a dashboard's SQL."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import psycopg
from kafka import KafkaProducer

EVERY_S = 3.1
"""Between two probes of a kind; no part of a minute, so that they come at all of its seconds."""
LOOK_S = 0.1


class Probe(Protocol):
    """One kind of change."""

    name: str
    sql: str
    """As a panel asks, of the minutes `%s`: minute and number."""

    def make(self, minute: datetime) -> None:
        """Make one of this minute; returns once it is committed or acknowledged."""
        ...


@dataclass
class RentalProbe:
    """A rental's row, committed on the primary."""

    primary: psycopg.Connection[Any]
    name: str = "commit on the primary"
    sql: str = (
        "SELECT window_start, sum(started)::int FROM metrics.rental_minute WHERE window_start = ANY(%s)"
        " GROUP BY window_start"
    )

    def make(self, minute: datetime) -> None:
        """See `Probe`."""
        self.primary.execute(
            "INSERT INTO rentals (id, rider_id, vehicle_id, rider_rental, zone_code, model_code, started_at, status)"
            " SELECT gen_random_uuid(), rider_id, vehicle_id, rider_rental, zone_code, model_code, %s, 'active'"
            " FROM rentals LIMIT 1",
            [minute],
        )


@dataclass
class TipProbe:
    """A tip-over's event, appended in Kafka."""

    producer: KafkaProducer
    name: str = "append in Kafka"
    sql: str = (
        "SELECT window_start, sum(reports)::int FROM metrics.tip_over_minute WHERE window_start = ANY(%s)"
        " GROUP BY window_start"
    )

    def make(self, minute: datetime) -> None:
        """See `Probe`."""
        event = {
            "kind": "tip_over",
            "version": 1,
            "event": {"id": uuid4().hex, "action": "tip_over", "dataset": "device.tip_over"},
            "device": {"id": "sc-00001", "model": "m365-pro", "firmware": "2.4.1"},
            "timestamp": int(minute.timestamp() * 1000),
            "network": {"carrier": "skt", "sim": "8982300000000000042"},
            "message": {"bytes": 56, "direction": "uplink"},
            "tipped_over": True,
        }
        self.producer.send("device-events", json.dumps(event).encode(), key=b"sc-00001").get(timeout=30)


@dataclass
class Watcher:
    """Makes probes of one kind for a while, and waits for each of their numbers; in a thread of its own."""

    probe: Probe
    viewer_url: str
    first: datetime
    """The minute of the first probe; the others lie before it, each a minute further back."""
    made: int = 0
    seconds: list[float] = field(default_factory=list)
    """From commit or acknowledgement to the number, of each probe that was seen."""
    pending: dict[datetime, tuple[int, float]] = field(default_factory=dict)
    """Minute → the number that is waited for, and since when."""

    def run(self, length_s: float, patience_s: float, stop: threading.Event) -> None:
        """Blocks; what is not seen `patience_s` after the last probe stays pending."""
        with psycopg.connect(self.viewer_url, autocommit=True) as viewer:
            began = due = time.monotonic()
            while not stop.is_set():
                now = time.monotonic()
                if now >= due and now - began < length_s:
                    self._make(viewer)
                    due += EVERY_S
                self._look(viewer)
                if now - began >= length_s and (not self.pending or now - began >= length_s + patience_s):
                    return
                stop.wait(LOOK_S)

    def _make(self, viewer: psycopg.Connection[Any]) -> None:
        minute = self.first - timedelta(minutes=self.made)
        self.made += 1
        before = dict(viewer.execute(self.probe.sql, [[minute]]).fetchall()).get(minute, 0)
        self.probe.make(minute)
        self.pending[minute] = before + 1, time.monotonic()

    def _look(self, viewer: psycopg.Connection[Any]) -> None:
        if not self.pending:
            return
        asked = time.monotonic()
        found = dict(viewer.execute(self.probe.sql, [list(self.pending)]).fetchall())
        for minute, (wanted, since) in list(self.pending.items()):
            if found.get(minute, 0) >= wanted:
                self.seconds.append(asked - since + LOOK_S / 2)
                del self.pending[minute]


def watch(watchers: list[Watcher], length_s: float, patience_s: float, failed: Callable[[], str | None]) -> None:
    """Run them side by side. Raises `RuntimeError` when `failed` says why, or one of them failed."""
    stop, errors = threading.Event(), []

    def guarded(one: Watcher) -> None:
        try:
            one.run(length_s, patience_s, stop)
        except Exception as error:
            errors.append(f"{one.probe.name}: {error}")
            stop.set()

    threads = [threading.Thread(target=guarded, args=[one], daemon=True) for one in watchers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (why := failed()) is not None:
            errors.append(why)
            stop.set()
        time.sleep(0.5)
    if errors:
        raise RuntimeError("; ".join(errors))
