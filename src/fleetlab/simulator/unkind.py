"""What real fleets do to a pipeline. What happens where comes from the seed; each is a switch, on by default."""

import random
from dataclasses import dataclass, fields, replace

from fleetgauge.errors import Terminal
from fleetlab.simulator.faults import damaged
from fleetlab.simulator.records import Record

_REPLAYED = 0.03
_HOUR_MS = 3_600_000
_REPLAY_AT_MS = 75_000  # after each full hour of the timeline, so also at the end of the demo's live stretch
_REPLAY_AFTER_MS = 600_000
_REPLAY_FAULTS = ("truncated", "wrong_type", "unknown_word")


@dataclass(frozen=True)
class Unkindness:
    """What the simulated company does that a tidy one would not."""

    disagreeing_producers: bool = True
    """The gateway, which writes `sent`, `delivered` and `responded`, knows some vehicles otherwise than the backend,
    which writes `requested`: another firmware, model or carrier. The earliest step counts."""
    replayed_requests: bool = True
    """Some `requested` events are appended broken, and once more in order when somebody has mended and replayed them,
    which is done every hour: all other steps of the command are long there, and have been counted."""
    answers_at_deadlines: bool = True
    """Some answers come within half a second of the deadline: in time, on the very millisecond, or just too late."""
    wrong_clocks: bool = True
    """Some devices' clocks are weeks off, so that all they say is outside of the accepted time range; others are days
    behind, within it, and their events belong to days long gone."""
    mixed_codecs: bool = True
    """Each batch is compressed with another codec: none, gzip, snappy, lz4 or zstd."""
    transactions: bool = True
    """Some batches are written in a transaction, after one that is aborted; nothing of that may be counted."""
    carrier_without_tariff: bool = True
    """Some vehicles roam on a carrier that no tariff knows: their messages have no price, and the others do."""
    varying_sizes: bool = True
    """Payloads have any size, not a few."""


KIND = Unkindness(**{field.name: False for field in fields(Unkindness)})
"""A tidy company: for measurements that are compared with others."""


def without(names: list[str]) -> Unkindness:
    """All but these switches; `all` for a tidy company. Raises `Terminal` for an unknown name."""
    known = [field.name for field in fields(Unkindness)]
    if "all" in names:
        return KIND
    if unknown := sorted(set(names) - set(known)):
        raise Terminal(f"there is no switch {', '.join(unknown)}; the switches are {', '.join(known)}, and all")
    return replace(Unkindness(), **dict.fromkeys(names, False))


def replay_some(steps: list[Record], rng: random.Random, start_ms: int) -> list[Record]:
    """The same steps of a command; now and then a `requested` is broken at first and comes again much later.

    `start_ms`: the timeline's start.
    """
    found = []
    for record in steps:
        if record.action == "requested" and rng.random() < _REPLAYED:
            fault = rng.choice(_REPLAY_FAULTS)
            value = damaged(fault, record, record.event_id, rng)
            found.append(record._replace(value=value, fault=fault, copy=2, attempt=None))
            hours = -(-(record.append_ms + _REPLAY_AFTER_MS - start_ms - _REPLAY_AT_MS) // _HOUR_MS)
            record = record._replace(append_ms=start_ms + hours * _HOUR_MS + _REPLAY_AT_MS + rng.randrange(2_000))
        found.append(record)
    return found
