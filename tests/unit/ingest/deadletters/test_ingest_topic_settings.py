"""Settings of topics that a broker tells in part: what is not known is not compared, and stops nothing."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from fleetgauge.erasure import freed_dead_letters
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters.topic_settings import known, read
from fleetgauge.settings import KafkaSettings

WHOLE = {"max.message.bytes": "1048588", "cleanup.policy": "delete", "retention.ms": "604800000"}
NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Broker:
    """Tells these settings of every topic."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said

    def list_topics(self) -> list[str]:
        return ["t", "t.dlq"]

    def describe_configs(self, resources: list[Any], **_: Any) -> dict[str, Any]:
        settings = {name: {"value": value} for name, value in self.said.items()}
        return {"topic": {one.name: settings for one in resources}}

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("lacking", [*WHOLE, "value"])
def test_what_a_broker_does_not_tell_is_not_compared(lacking: str) -> None:
    said = {name: value for name, value in WHOLE.items() if name != lacking}
    if lacking == "value":
        said = {**WHOLE, "retention.ms": None}
    consumer = Consumer(name="t", topic="t", contracts=("location",), index="t")
    assert read(Broker(said), consumer) == []  # type: ignore[arg-type]
    assert not known({name: str(value) for name, value in said.items()})
    assert known(WHOLE)


@pytest.mark.parametrize(
    ("said", "days"),
    [
        ({**WHOLE, "segment.ms": "86400000"}, 8),
        ({**WHOLE, "segment.ms": str(2**63 - 1), "retention.ms": str(2**62)}, 36_500),
        ({**WHOLE, "segment.ms": "86400000", "retention.ms": "-1"}, None),
        ({"cleanup.policy": "delete", "segment.ms": "86400000"}, None),
        ({"retention.ms": None, "segment.ms": None}, None),
        ({}, None),
    ],
)
def test_until_when_a_topic_keeps_records(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], days: int | None
) -> None:
    monkeypatch.setattr(freed_dead_letters, "administering", lambda *_: Broker(said))
    found = freed_dead_letters.log_until(SimpleNamespace(spec=KafkaSettings), ["t"], NOW)  # type: ignore[arg-type]
    until = found["t"]
    assert (None if until is None else (until - NOW).days) == days
