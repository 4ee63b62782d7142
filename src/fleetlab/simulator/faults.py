"""What goes wrong on the way: records appended twice, and payloads that break their contract.

A broken payload is always an extra one, never the only copy of a valid event, so that the truth about commands and
traffic does not depend on it.
"""

import json
import random
from collections.abc import Callable
from typing import Any

from fleetlab.simulator.records import DUPLICATE, VALID, Record

DUPLICATES = 0.006
BROKEN = 1 / 1_300
_DAY = 86_400_000

_Edit = Callable[[dict[str, Any], Record, random.Random], None]


def _missing_field(body: dict[str, Any], _record: Record, rng: random.Random) -> None:
    del body[rng.choice(("timestamp", "device", "event"))]


def _wrong_type(body: dict[str, Any], _record: Record, rng: random.Random) -> None:
    field = rng.choice(("timestamp", "version", "device"))
    body[field] = "unknown" if field == "device" else str(body[field])


def _out_of_range(body: dict[str, Any], _record: Record, rng: random.Random) -> None:
    if "command" in body:
        body["command"]["attempt"] = rng.choice((0, -1, 4_096))
    elif "battery_percent" in body:
        body["battery_percent"] = 255
    elif "location" in body:
        body["location"]["lat"] = 37_566_500 / 1_000
    else:
        body["version"] = 99


def _unknown_word(body: dict[str, Any], _record: Record, _rng: random.Random) -> None:
    if "command" in body:
        body["command"]["type"] = "self_destruct"
    else:
        body["event"]["action"] = "teleport"


def _unknown_kind(body: dict[str, Any], _record: Record, _rng: random.Random) -> None:
    body["kind"] = "selfie"


def _too_old(body: dict[str, Any], record: Record, rng: random.Random) -> None:
    """A device whose clock fell back."""
    body["timestamp"] = record.append_ms - rng.randrange(8 * _DAY, 900 * _DAY)


def _in_the_future(body: dict[str, Any], record: Record, rng: random.Random) -> None:
    body["timestamp"] = record.append_ms + rng.randrange(12 * 60_000, 300 * _DAY)


_EDITS: dict[str, _Edit] = {
    "missing_field": _missing_field,
    "wrong_type": _wrong_type,
    "out_of_range": _out_of_range,
    "unknown_word": _unknown_word,
    "unknown_kind": _unknown_kind,
    "too_old": _too_old,
    "in_the_future": _in_the_future,
}
OUT_OF_TIME = ("too_old", "in_the_future")
"""Faults that break the accepted time range (7 days back, 10 minutes ahead of the append time), not the contract."""
_PAST_MS, _FUTURE_MS = 7 * _DAY, 600_000
_RAW = ("not_json", "truncated", "not_utf8", "empty", "tombstone")
FAULTS = (*_EDITS, *_RAW)


def out_of_time(event_ms: int, append_ms: int) -> str:
    """Which of `OUT_OF_TIME` an event of this time is, `VALID` if none."""
    if event_ms < append_ms - _PAST_MS:
        return "too_old"
    return "in_the_future" if event_ms > append_ms + _FUTURE_MS else VALID


def damaged(fault: str, record: Record, event_id: str, rng: random.Random) -> bytes | None:
    """A valid record's value, broken in one of the ways of `FAULTS`; None is a tombstone."""
    assert record.value is not None
    if fault == "tombstone":
        return None
    if fault == "empty":
        return b""
    if fault == "not_json":
        return b"+CSQ: %d,99\r\nOK\r\n" % rng.randrange(32)  # what a modem says
    value = record.value.replace(record.event_id.encode(), event_id.encode(), 1)
    if fault == "truncated":
        return value[: rng.randrange(20, len(value) - 20)]
    if fault == "not_utf8":
        return value.replace(b'"model":"', b'"model":"\xff\xfe', 1)
    body = json.loads(value)
    _EDITS[fault](body, record, rng)
    return json.dumps(body, separators=(",", ":")).encode()


def spoil(records: list[Record], rng: random.Random) -> list[Record]:
    """The same records, and among them some duplicates and broken extras."""
    extra = []
    for index in _some(len(records), DUPLICATES, rng):
        record = records[index]
        if record.fault != VALID:
            continue  # it is never stored, so it has no duplicate
        later = record.append_ms + 150 + int(rng.expovariate(1 / 12_000))
        extra.append(record._replace(append_ms=later, copy=1, fault=DUPLICATE))
    for index in _some(len(records), BROKEN, rng):
        record, fault = records[index], rng.choice(FAULTS)
        if record.fault != VALID:
            continue
        event_id = f"{record.event_id}.x"
        extra.append(
            record._replace(
                append_ms=record.append_ms + 20,
                event_id=event_id,
                value=damaged(fault, record, event_id, rng),
                fault=fault,
                attempt=None,
            )
        )
    return records + extra if extra else records


def _some(count: int, share: float, rng: random.Random) -> set[int]:
    """Indices drawn with that chance each, at the price of one random number where the share is small."""
    wanted, chosen = count * share, set()
    while wanted > 0 and count:
        if rng.random() < wanted:
            chosen.add(rng.randrange(count))
        wanted -= 1
    return chosen
