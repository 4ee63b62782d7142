"""A limit that nobody could read for five minutes is told as that, and not as one that was not reached."""

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge.errors import Transient
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters.acceptance import LimitState
from fleetgauge.ingest.operate.limit_exports import LimitCollector
from fleetgauge.settings import Settings

CONTENT = Path(__file__).parents[4]


def test_what_could_not_be_read_for_five_minutes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now, away = [1000.0], [False]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def read(_consumer: Consumer) -> list[LimitState]:
        if away[0]:
            raise Transient("the broker is away")
        return [LimitState(0, 7, "too many", "not_json", "", {}, (), {}), LimitState(1, 7, "", "", "", {}, (), {})]

    limits = LimitCollector(Settings(content=CONTENT), read)
    registry = CollectorRegistry()
    registry.register(limits)

    def told(name: str) -> set[float]:
        return {s.value for family in registry.collect() for s in family.samples if s.name == name}

    assert told("fleetgauge_ingest_limit_unread") == {0.0} and not told("fleetgauge_ingest_limit_reached")
    limits.refresh()
    assert told("fleetgauge_ingest_limit_unread") == {0.0} and told("fleetgauge_ingest_limit_reached") == {1.0}
    away[0], now[0] = True, now[0] + 299
    limits.refresh()
    assert told("fleetgauge_ingest_limit_unread") == {0.0} and told("fleetgauge_ingest_limit_reached") == {1.0}
    now[0] += 2
    assert told("fleetgauge_ingest_limit_unread") == {1.0} and not told("fleetgauge_ingest_limit_reached")
    away[0] = False
    limits.refresh()
    assert told("fleetgauge_ingest_limit_unread") == {0.0}
    assert "1 while nobody knows" in generate_latest(registry).decode()
