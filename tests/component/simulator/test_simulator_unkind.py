"""What the company does to a pipeline: each unkindness happens, is switched off by its switch, and is in the books."""

import json
from collections import Counter, defaultdict
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import pytest

from fleetgauge.errors import Terminal
from fleetlab.simulator import Scale, Timeline, Truth
from fleetlab.simulator.records import DUPLICATE, VALID, Record
from fleetlab.simulator.unkind import KIND, Unkindness, without
from fleetlab.simulator.world import ROAMING

DAY_MS = 86_400_000
STEPS = ("requested", "sent", "delivered", "responded")


def records_of(unkind: Unkindness, at: datetime) -> list[Record]:
    plan = Timeline.ending(Scale(vehicles=60, days=1, rate=4, live_seconds=0, unkind=unkind), at)
    return [record for part in plan.backlog() for record in part]


@pytest.fixture(scope="module")
def kind(tuesday: datetime) -> list[Record]:
    """The records of a tidy company."""
    return records_of(KIND, tuesday)


def bodies(records: list[Record]) -> list[dict[str, Any]]:
    return [json.loads(r.value or b"") for r in records if r.fault == VALID]


def disagreeing(records: list[Record]) -> dict[str, int]:
    """What differs between the events of an attempt, and in how many attempts."""
    seen: dict[tuple[str, int, str], set[str]] = defaultdict(set)
    for body in bodies(records):
        if "command" in body:
            key = body["command"]["id"], body["command"]["attempt"]
            for name, value in (*body["device"].items(), *body["network"].items()):
                seen[(*key, name)].add(value)
    return dict(Counter(name for (_, _, name), values in seen.items() if len(values) > 1))


def test_producers_disagree(small_backlog: list[Record], kind: list[Record]) -> None:
    assert set(disagreeing(small_backlog)) == {"firmware", "carrier", "model"}
    assert disagreeing(kind) == {}


def test_the_books_know_a_vehicle_as_its_earliest_step_does(small_backlog: list[Record], small_truth: Truth) -> None:
    first: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for body in bodies(small_backlog):
        if "command" in body:
            at = body["command"]["attempt"], STEPS.index(body["event"]["action"])
            first[body["command"]["id"]][-at[0] * 10 + at[1]] = body
    told = {c.id: (c.model, c.firmware, c.carrier) for c in small_truth.commands()}
    expected = {}
    for command, steps in first.items():
        body = steps[min(steps)]  # of the last attempt, the earliest step
        expected[command] = body["device"]["model"], body["device"]["firmware"], body["network"]["carrier"]
    assert told == expected


def test_requests_are_broken_at_first_and_replayed_much_later(
    small: Timeline, small_backlog: list[Record], kind: list[Record]
) -> None:
    everything = small_backlog + small.live()
    broken = {r.event_id: r for r in everything if r.copy == 2}
    good = {r.event_id: r for r in everything if r.fault == VALID}
    assert len(broken) > 20
    assert {r.action for r in broken.values()} == {"requested"}
    assert all(r.fault not in (VALID, DUPLICATE) for r in broken.values())
    delays = [good[name].append_ms - r.append_ms for name, r in broken.items() if name in good]
    assert len(delays) > 20 and min(delays) >= 600_000
    assert not [r for r in kind if r.copy == 2]
    live = [r for name, r in good.items() if name in broken and r.append_ms > small.live_ms]
    assert live, "some come when what they belong to has been counted"
    moved = [r for name, r in good.items() if name in broken and r.attempt and r.attempt.gateway]
    assert moved, "some say something else than the steps that are there"


def late_by(records: list[Record]) -> list[int]:
    """How many ms after its deadline each answer came."""
    answers = {r.event_id: r.attempt for r in records if r.attempt and r.action == "responded"}
    return [a.responded_ms - a.deadline_ms for a in answers.values() if a.responded_ms is not None]


def test_answers_come_around_their_deadlines(small_backlog: list[Record], kind: list[Record]) -> None:
    close = [late for late in late_by(small_backlog) if -500 <= late <= 500]
    assert {0, 1} <= set(close)
    assert min(close) < -100 and max(close) > 100
    assert not [late for late in late_by(kind) if -500 < late < 500]


def test_clocks_are_off_by_weeks_and_days(small_backlog: list[Record], kind: list[Record]) -> None:
    off = {r.device: (r.event_ms - r.append_ms) / DAY_MS for r in small_backlog if r.event_id.count(".") == 0}
    weeks = {device for device, days in off.items() if abs(days) > 7.5}
    days = {device for device, days in off.items() if -7 < days < -0.9}
    assert weeks and days
    for record in small_backlog:
        if record.topic == "device-events" and record.device in weeks:
            assert record.fault not in (VALID, DUPLICATE)
        if record.topic == "device-events" and record.device in days and not record.event_id.endswith(".x"):
            assert record.fault in (VALID, DUPLICATE)
    assert max(abs(r.event_ms - r.append_ms) for r in kind) < DAY_MS


def test_a_carrier_has_no_tariff(small_backlog: list[Record], kind: list[Record]) -> None:
    assert ROAMING.code in {r.carrier for r in small_backlog}
    assert ROAMING.code not in {r.carrier for r in kind}


def test_sizes_vary(small_backlog: list[Record], kind: list[Record]) -> None:
    def sizes(records: list[Record]) -> int:
        return len({r.nbytes for r in records if r.subject == "locate" and r.direction == "uplink"})

    assert sizes(small_backlog) > 300
    assert sizes(kind) == 5  # acks, refusals, three usual ones


@pytest.mark.parametrize("name", [field.name for field in fields(Unkindness)])
def test_each_switch_is_its_own(name: str) -> None:
    assert without([name]) == replace(Unkindness(), **{name: False}) != Unkindness()


def test_switches_are_named() -> None:
    assert without([]) == Unkindness()
    assert without(["all"]) == KIND
    with pytest.raises(Terminal, match="there is no switch nicety; the switches are disagreeing_producers, replayed"):
        without(["nicety"])
