"""What consumers are doing now, read from their `/metrics`; needs neither Kafka nor Elasticsearch."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection

from prometheus_client.parser import text_string_to_metric_families

from fleetgauge.errors import Terminal
from fleetgauge.http_in_time import answers_within
from fleetgauge.ingest import consumer_metrics as m

_TIMEOUT_S = 3.0
"""For the connection, and for the whole answer."""
_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """One consumer in one process, at one moment."""

    url: str
    consumer: str
    taken_at: float
    """Monotonic seconds."""
    events: Mapping[str, float] = field(default_factory=dict)
    """Final events since the process began, by class."""
    lag_records: float = 0.0
    lag_seconds: float = 0.0
    """The worst partition's, by append time."""
    assigned: float = 0.0
    paused: float = 0.0
    retry_depth: float = 0.0
    in_flight_bytes: float = 0.0
    collisions: float = 0.0
    missed: float = 0.0


@dataclass(frozen=True)
class Row:
    """What is shown of one consumer in one process."""

    url: str
    consumer: str
    """Empty if the endpoint is down."""
    state: str
    """`ok`, `retrying`, `paused`, `idle` (no partition), or what is wrong with the endpoint."""
    events_per_second: float | None = None
    """None until there are two samples."""
    events: Mapping[str, float] = field(default_factory=dict)
    lag_records: float = 0.0
    lag_seconds: float = 0.0
    assigned: int = 0
    paused: int = 0
    retry_depth: int = 0
    in_flight_bytes: int = 0
    collisions: int = 0
    missed: int = 0


Look = Mapping[str, Sequence[Sample] | str]
"""By address: the consumers of the process, or why it could not be asked."""


def look(urls: Sequence[str]) -> Look:
    """Ask all of them at once; blocks for some seconds at most. Raises `Terminal` for an address that is none."""
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise Terminal(f"--url {url!r} is not an address; write it like http://127.0.0.1:9400/metrics")
    with ThreadPoolExecutor(max(1, min(len(urls), 32))) as pool:
        return dict(zip(urls, pool.map(_ask, urls), strict=True))


class PlainHttp(HTTPConnection):
    response_class = answers_within(_TIMEOUT_S)


class EncryptedHttp(HTTPSConnection):
    response_class = answers_within(_TIMEOUT_S)


class _OpenPlain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(PlainHttp, req)


class _OpenEncrypted(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(EncryptedHttp, req)


def _ask(url: str) -> Sequence[Sample] | str:
    try:
        with urllib.request.build_opener(_OpenPlain, _OpenEncrypted).open(url, timeout=_TIMEOUT_S) as answer:
            text = answer.read(_LIMIT_BYTES).decode()
        return samples(url, text, time.monotonic())
    except urllib.error.HTTPError as error:
        return f"down: HTTP {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return f"down: {reason}"


def samples(url: str, text: str, taken_at: float) -> list[Sample]:
    """One sample for each consumer in an exposition."""
    by_consumer: dict[str, dict[str, list[tuple[dict[str, str], float]]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            consumer = sample.labels.get("consumer")
            if consumer is not None:
                by_consumer.setdefault(consumer, {}).setdefault(sample.name, []).append((sample.labels, sample.value))
    return [_sample(url, consumer, found, taken_at) for consumer, found in sorted(by_consumer.items())]


def _sample(
    url: str, consumer: str, found: Mapping[str, list[tuple[dict[str, str], float]]], taken_at: float
) -> Sample:
    def values(definition: m.ExportedMetric, **labels: str) -> list[float]:
        return [
            value
            for having, value in found.get(definition.name, ())
            if all(having.get(label) == wanted for label, wanted in labels.items())
        ]

    return Sample(
        url,
        consumer,
        taken_at,
        {labels["class"]: value for labels, value in found.get(m.EVENTS.name, ()) if value},
        sum(values(m.LAG_RECORDS)),
        max(values(m.LAG_SECONDS, of="append"), default=0.0),
        sum(values(m.ASSIGNED)),
        sum(values(m.PAUSED)),
        max(values(m.RETRY_DEPTH), default=0.0),
        sum(values(m.IN_FLIGHT_BYTES)),
        sum(values(m.COLLISIONS)),
        sum(values(m.MISSED)),
    )


def rows(before: Look, now: Look, *, hide_down: bool = False) -> list[Row]:
    """What to show, given two looks (the first may be empty). `hide_down`: leave out addresses that do not answer."""
    shown: list[Row] = []
    for url, found in now.items():
        if isinstance(found, str):
            if not hide_down or not isinstance(before.get(url, ""), str):
                shown.append(Row(url, "", found))
            continue
        earlier = before.get(url, ())
        known = {} if isinstance(earlier, str) else {sample.consumer: sample for sample in earlier}
        shown += [_row(sample, known.get(sample.consumer)) for sample in found]
    return shown


def _row(now: Sample, before: Sample | None) -> Row:
    return Row(
        now.url,
        now.consumer,
        _state(now),
        None if before is None else _rate(now, before),
        now.events,
        now.lag_records,
        now.lag_seconds,
        int(now.assigned),
        int(now.paused),
        int(now.retry_depth),
        int(now.in_flight_bytes),
        int(now.collisions),
        int(now.missed),
    )


def _state(sample: Sample) -> str:
    if sample.retry_depth:
        return "retrying"
    if sample.paused:
        return "paused"
    return "ok" if sample.assigned else "idle"


def _rate(now: Sample, before: Sample) -> float:
    done, earlier = sum(now.events.values()), sum(before.events.values())
    if done < earlier:  # the process was started again
        earlier = 0.0
    return (done - earlier) / max(now.taken_at - before.taken_at, 1e-9)


def total_rate(shown: Iterable[Row]) -> float:
    """Events per second over all rows."""
    return sum(row.events_per_second or 0.0 for row in shown)
