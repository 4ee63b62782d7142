"""Seeded damage to events: what a broken device, a bad producer or an attacker would send."""

import json
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

_RAW = "\ue000"  # wraps text that must stand in the payload as it is, unquoted

NUMBERS = (
    "-0", "-0.0", "1E-400", "1e400", "-1e400", "1e99999999999", "NaN", "Infinity", "01", "+1", "1.", ".5", "1.0", "1e0",
    str(2**31), str(2**53 + 1), str(2**63), str(-(2**63) - 1), str(2**64), "1" + "0" * 400, "9" * 1500,
    "0." + "1" * 900,
)  # fmt: skip
STRINGS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\u2028",
    "\ufffe",
    "\U0001f6f4",
    "é" * 300,
    "x" * 2000,
    '"',
    "\\",
    "a\nb",
    "..",
    "/",
)
SURROGATE = '"\\ud800"'
KEYS = (
    "", " ", ".", "..", "a..b", ".a", "a.", "a. .b", "_id", "_source", "_routing", "_index", "_doc_count", "_ignored",
    "*", "#", "a,b", "\x00", "\t", "Kind", "KIND", "kind ", "speed.x", "location.lat", "device.id", "event.id.x",
    "@timestamp", "@timestamp.x", "event.ingested", "kafka", "kafka.offset", "geo", "geo.location.lat", "network.",
    "x" * 1000, "a." * 60 + "b", "\U0001f6f4", "__proto__",
)  # fmt: skip

Event = dict[str, Any]
Damage = Callable[[random.Random, Event], Event | bytes]


def _odd(rng: random.Random) -> Any:
    """Any value that an event should not hold, or not there."""
    match rng.randrange(12):
        case 0 | 1 | 2:
            return _RAW + rng.choice(NUMBERS) + _RAW
        case 3 | 4:
            return rng.choice(STRINGS)
        case 5:
            return _RAW + SURROGATE + _RAW
        case 6:
            return rng.choice((None, True, False, [], {}, [[]], [None], [{}], {"": {}}))
        case 7:
            return [[_odd(rng) for _ in range(2)], {rng.choice(KEYS): _odd(rng)}]
        case 8:
            return {rng.choice(KEYS): _odd(rng)}
        case 9:
            depth = rng.choice((5, 5, 20, 21, 100, 999, 1001, 3000))
            start, end = rng.choice((("[", "]"), ('{"a":', "}")))
            return _RAW + start * depth + "1" + end * depth + _RAW
        case 10:
            return {f"k{i}": i for i in range(rng.choice((10, 10, 10, 1000)))}
        case _:
            return rng.choice((0, -1, 1, 10**6, 0.5, "1", "location", 1763700000000))


def _member_of(rng: random.Random, event: Event) -> tuple[Event, str]:
    """An object of the event and one of its members."""
    holder = event
    while True:
        key = rng.choice(list(holder))
        if not isinstance(holder[key], dict) or not holder[key] or rng.random() < 0.3:
            return holder, key
        holder = holder[key]


def _swap(rng: random.Random, event: Event) -> Event:
    holder, key = _member_of(rng, event)
    holder[key] = _odd(rng)
    return event


def _drop(rng: random.Random, event: Event) -> Event:
    holder, key = _member_of(rng, event)
    del holder[key]
    return event


def _rename(rng: random.Random, event: Event) -> Event:
    holder, key = _member_of(rng, event)
    holder[rng.choice((*KEYS, key.upper(), key + " "))] = holder.pop(key)
    return event


def _add(rng: random.Random, event: Event) -> Event:
    holder, _ = _member_of(rng, event)
    holder[rng.choice((*KEYS, "more", "more.x"))] = _odd(rng)
    return event


def _extend(rng: random.Random, event: Event) -> Event:
    """Members that no contract names, under harmless names: mostly to be kept."""
    holder, _ = _member_of(rng, event)
    holder[f"more_{rng.randrange(5)}"] = rng.choice((_odd(rng), rng.choice(STRINGS), rng.random(), [1, 2], {"a": {}}))
    return event


def _respell(rng: random.Random, event: Event) -> bytes:
    """Another spelling of the same event: order, white space, line ends, escapes."""
    members = list(event.items())
    rng.shuffle(members)
    text = msgspec.json.format(json.dumps(dict(members)), indent=rng.choice((-1, 0, 2)))
    if rng.random() < 0.5:
        text = text.replace("e", "\\u0065") if rng.random() < 0.2 else rng.choice((" ", "\r\n", "\n\n")) + text + "\n"
    return text.encode()


def _nest(rng: random.Random, event: Event) -> Event:
    holder, key = _member_of(rng, event)
    holder[key] = rng.choice(([holder[key]], {key: holder[key]}, {"value": holder[key]}, [[holder[key]]]))
    return event


def _nudge(rng: random.Random, event: Event) -> Event:
    """Stays close to valid: a time, a number or an id a little or far off."""
    match rng.randrange(4):
        case 0:
            by = rng.choice((1, 3_600_000, 86_400_000, 10**10, 10**13))
            event["timestamp"] = int(time.time() * 1000) + rng.choice((-by, by))
        case 1:
            event["location"] = {"lat": rng.uniform(-120, 120), "lng": rng.uniform(-200, 200)}
        case 2:
            event["device"] = {"model": "m", "firmware": "1"}
            event["device"]["id"] = rng.choice(("ü", "a:b", "x" * 64, "x" * 65, "-", "a\n", "a/b"))
        case _:
            event["version"] = rng.randrange(-1, 4)
    return event


def _twice(rng: random.Random, event: Event) -> bytes:
    """A key that occurs twice, at the top or inside."""
    holder, key = _member_of(rng, event)
    text = written(event)
    member = written({key: holder[key]})[1:-1]
    return text.replace(member, member + b"," + rng.choice((member, member[: member.index(b":") + 1] + b"1")), 1)


def _bytes(rng: random.Random, event: Event) -> bytes:
    text = bytearray(written(event))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) or 1)
        to = min(len(text), at + rng.choice((1, 2, 8, 60)))
        match rng.randrange(7):
            case 0:
                text[at : at + 1] = bytes((text[at] ^ 1 << rng.randrange(8),)) if text else b""
            case 1:
                text[at : at + 1] = bytes((rng.randrange(256),))
            case 2:
                text[at:at] = rng.choice(
                    (b"\x00", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b" ", b"\n", b"\r\n", b"\x1f")
                )
            case 3:
                del text[at:to]
            case 4:
                del text[at:]
            case 5:
                text[at:at] = text[at:to]
            case _:
                text += rng.choice((b"}", b",", b"{}", b"\n{}", b"\x00", b" \t", b'\n{"create":{}}\n'))
    return bytes(text)


def _splice(rng: random.Random, event: Event) -> bytes:
    text = written(event)
    return text[: rng.randrange(len(text))] + text[rng.randrange(len(text)) :]


_DAMAGES: tuple[Damage, ...] = (
    *(_swap, _drop, _rename, _add, _nest, _nudge, _twice, _bytes, _bytes, _splice),
    *(_extend,) * 7,
    *(_respell,) * 4,
)


def written(event: Any) -> bytes:
    """The event as a payload, with the raw pieces put in."""
    text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    if _RAW in text:
        pieces = text.split(_RAW)
        for i in range(1, len(pieces), 2):
            pieces[i - 1], pieces[i + 1] = pieces[i - 1][:-1], pieces[i + 1][1:]
            pieces[i] = json.loads(f'"{pieces[i]}"')
        text = "".join(pieces)
    return text.encode("utf-8", "surrogatepass")


def mutated(rng: random.Random, event: Event) -> bytes:
    """One to three kinds of damage to the event, which is used up."""
    for damage in rng.choices(_DAMAGES, k=rng.choice((1, 1, 1, 2, 3))):
        found = damage(rng, event) if event else b"{}"
        if isinstance(found, bytes):
            return found
    return written(event)
