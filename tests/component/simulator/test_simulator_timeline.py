"""The timeline: the same on every run, as large as promised, complete at the seam of backlog and live stretch."""

import copy
import hashlib
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from fleetgauge.errors import Terminal
from fleetlab.simulator import Scale, Timeline
from fleetlab.simulator.records import DUPLICATE, VALID, Record
from fleetlab.simulator.rhythm import demand
from fleetlab.simulator.world import NEWEST

TINY = Scale(vehicles=20, days=1, rate=2, live_seconds=120)


def digest(plan: Timeline) -> str:
    """A fingerprint of all that a timeline sends and writes."""
    found = hashlib.sha256()
    for part in (*plan.backlog(), plan.live()):
        for r in part:
            found.update(b"%d %d %s|" % (r.append_ms, r.partition, r.key) + (r.value if r.value is not None else b"-"))
    for action in plan.actions():
        rental = action.rental
        found.update(f"{action.at_ms} {action.kind} {rental and (rental.id, rental.fare_krw)}".encode())
    return found.hexdigest()


def test_same_seed_and_start_give_the_same_bytes(tuesday: datetime) -> None:
    # another process has other hash seeds, so the order of sets must not matter
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_simulator_timeline import *\n"
        "print(digest(Timeline.ending(TINY, datetime.fromisoformat(sys.argv[2]))))"
    )
    folder = str(Path(__file__).parent)
    result = subprocess.run(
        [sys.executable, "-c", program, folder, tuesday.isoformat()], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == digest(Timeline.ending(TINY, tuesday))


def test_another_seed_or_start_gives_another_company_without_common_ids(tuesday: datetime) -> None:
    def ids(seed: int, at: datetime) -> set[str]:
        plan = Timeline.ending(Scale(vehicles=20, days=1, rate=2, seed=seed, live_seconds=0), at)
        return {r.event_id for part in plan.backlog() for r in part}

    first, other_seed, other_start = ids(1, tuesday), ids(2, tuesday), ids(1, tuesday + timedelta(seconds=1))
    assert first and other_seed and other_start
    assert not first & other_seed
    assert not first & other_start


def test_the_default_scale_has_the_promised_volume(tuesday: datetime) -> None:
    default = Scale()
    plan = Timeline.ending(Scale(vehicles=default.vehicles // 3, days=1), tuesday)
    larger = 3 * default.days  # everything grows with vehicles and days
    count = Counter(r.kind for part in plan.backlog() for r in part if r.fault == VALID)
    commands = [c for c in plan.commands() if c.attempts[0].requested_ms <= plan.live_ms]
    rentals = [r for r in plan.trips.rentals if r.started_ms <= plan.live_ms]
    telemetry = sum(n for kind, n in count.items() if not kind.startswith("command"))
    assert larger * telemetry >= 315_000
    assert larger * len(commands) >= 31_000
    assert larger * len(rentals) >= 6_000
    assert set(count) == {
        "location", "battery", "odometer", "tip_over", "device_error", "command", "command_response",
    }  # fmt: skip

    failed = sum(c.outcome != "succeeded" for c in commands)
    assert 0.045 <= failed / len(commands) <= 0.07
    by_firmware = {
        newest: [c.outcome != "succeeded" for c in commands if (c.attempts[0].firmware == NEWEST) == newest]
        for newest in (True, False)
    }
    bad, good = (sum(found) / len(found) for found in (by_firmware[True], by_firmware[False]))
    assert bad > 2 * good


def test_a_weekend_is_nearly_as_large(tuesday: datetime) -> None:
    default = Scale()
    all_weekend = tuesday - timedelta(days=1, hours=20)  # ends on Monday at half past midnight in Seoul
    plan = Timeline.ending(Scale(vehicles=default.vehicles // 3, days=2, live_seconds=0), all_weekend)
    assert len(plan.trips.rentals) * 3 / 2 * default.days >= 5_800


def test_backlog_and_live_stretch_meet_without_gap_or_overlap(small: Timeline, small_backlog: list[Record]) -> None:
    live = small.live()
    assert live and all(small.live_ms < r.append_ms <= small.end_ms for r in live)
    assert all(r.append_ms <= small.live_ms for r in small_backlog)
    assert small_backlog == sorted(small_backlog)
    assert live == sorted(live)
    everything = [(r.event_id, r.copy) for r in small_backlog + live]
    assert len(everything) == len(set(everything))
    # what begins before the seam goes on after it: no step of a command is lost between the two
    sent = {(r.attempt.command_id, r.attempt.number, r.action) for r in small_backlog + live if r.attempt}
    replayed = {r.event_id for r in small_backlog + live if r.copy == 2}  # perhaps after the end
    for command in small.commands():
        for attempt in command.attempts:
            clocks = {
                "requested": attempt.requested_ms,
                "sent": attempt.sent_ms,
                "delivered": attempt.delivered_ms,
                "responded": attempt.responded_ms,
            }
            for action, at in clocks.items():
                step = (attempt.command_id, attempt.number, action)
                if at is None:
                    assert step not in sent
                elif at < small.end_ms - 10_000:
                    assert step in sent or f"{step[0][2:]}.{step[1]}1" in replayed


def test_what_a_gateway_has_queued_is_appended_at_the_end(small: Timeline) -> None:
    """Else the stretch might end with an ack whose `sent` is still on its way, and never comes."""
    sent = [r for r in small.live() if r.action == "sent" and r.fault == VALID]
    shorter, begun = copy.copy(small), 0
    for record in sorted(sent, key=lambda r: r.event_ms - r.append_ms)[:10]:
        shorter.end_ms = record.append_ms - 1
        live = {r.event_id: r for r in shorter.live()}
        if record.event_id[:-1] + "1" in live:  # else it belongs to a ride that begins after that
            begun += 1
            assert live[record.event_id].append_ms == shorter.end_ms
    assert begun


def test_the_live_stretch_is_a_rush_hour_with_starts_ends_and_refunds(small: Timeline) -> None:
    kinds = Counter(a.kind for a in small.actions() if a.at_ms > small.live_ms)
    usual = small.scale.vehicles * small.scale.rate * small.scale.live_seconds / 86_400
    assert kinds["start"] > 5 * usual
    assert kinds["end"] >= 10
    assert kinds["refund"] >= 4
    assert kinds["state"] > kinds["start"]


def test_no_live_stretch_when_none_is_asked_for(tuesday: datetime) -> None:
    plan = Timeline.ending(Scale(vehicles=20, days=1, live_seconds=0), tuesday)
    assert plan.live() == []
    assert all(a.at_ms <= plan.live_ms for a in plan.actions())


def test_a_device_always_has_the_same_partition(small_backlog: list[Record]) -> None:
    assigned: dict[tuple[str, bytes], int] = {}
    for record in small_backlog:
        assert assigned.setdefault((record.topic, record.key), record.partition) == record.partition
        assert record.key == record.device.encode()
    assert set(assigned.values()) == {0, 1, 2, 3}


def test_duplicates_repeat_an_earlier_record_byte_by_byte(small_backlog: list[Record]) -> None:
    first = {r.event_id: r for r in small_backlog if r.fault == VALID}
    duplicates = [r for r in small_backlog if r.fault == DUPLICATE]
    assert duplicates
    for again in duplicates:
        original = first[again.event_id]
        assert original.append_ms < again.append_ms
        assert (original.value, original.topic, original.partition) == (again.value, again.topic, again.partition)


def test_things_come_out_of_order(small_backlog: list[Record]) -> None:
    first = [r for r in small_backlog if r.fault == VALID]
    assert any(r.append_ms - r.event_ms > 600_000 for r in first), "late devices"
    order: dict[tuple[str, int], list[str]] = {}
    for record in first:
        if record.attempt:
            order.setdefault((record.attempt.command_id, record.attempt.number), []).append(record.action)
    assert any(
        s.index("responded") < s.index("delivered") for s in order.values() if {"responded", "delivered"} <= {*s}
    )
    assert any("responded" in s and "delivered" not in s for s in order.values()), "lost acks"
    assert any(s == ["requested"] for s in order.values()), "never sent"


def test_ageing_vehicles_stop_while_riding(tuesday: datetime) -> None:
    plan = Timeline.ending(Scale(vehicles=60, days=1, rate=6, live_seconds=0), tuesday)
    stopped = [r for r in plan.trips.rentals if r.stopped_ms]
    assert stopped and all(r.vehicle.ageing for r in stopped)
    records = [r for part in plan.backlog() for r in part if r.fault == VALID and r.value]
    for rental in stopped:
        assert rental.stopped_ms and rental.ended_ms - rental.stopped_ms >= 20 * 60_000
        after = [
            r
            for r in records
            if rental.id.encode() in (r.value or b"") and r.kind == "location"
            if r.event_ms - rental.vehicle.skew_ms > rental.stopped_ms
        ]
        assert all(b'"speed":0.0' in (r.value or b"") for r in after)
        states = [s.state for s in plan.trips.states if s.rental is rental]
        assert states == ["on_trip", "non_contactable", "non_operational"]


def test_a_vehicle_does_one_thing_at_a_time(small: Timeline) -> None:
    for rentals in small.trips.by_vehicle.values():
        for before, after in pairwise(rentals):
            assert before.ended_ms < after.started_ms
    last: dict[int, int] = {}
    for change in small.trips.states:
        assert change.at_ms >= last.get(change.vehicle.number, 0)
        last[change.vehicle.number] = change.at_ms


def test_the_city_has_a_rhythm(tuesday: datetime) -> None:
    night = int((tuesday.replace(hour=18, minute=30)).timestamp() * 1000)  # 03:30 in Seoul
    commute = int((tuesday.replace(hour=9, minute=30)).timestamp() * 1000)  # 18:30
    assert demand(commute) > 10 * demand(night)
    week = [demand(night + hour * 3_600_000) for hour in range(168)]
    assert 0.9 < sum(week) / 168 < 1.1
    steps = [demand(night + minute * 60_000) for minute in range(7 * 1_440)]
    assert max(abs(a - b) for a, b in pairwise(steps)) < 0.12, "no jumps"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"vehicles": 0}, "vehicles"),
        ({"days": 0}, "days"),
        ({"rate": -1.0}, "rate"),
        ({"live_seconds": -5}, "live_seconds"),
    ],
)
def test_senseless_sizes_are_refused_by_name(change: dict[str, int], name: str) -> None:
    with pytest.raises(Terminal, match=name):
        Scale(**change)  # type: ignore[arg-type]
