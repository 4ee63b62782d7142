"""The truth agrees with a naive reading of the bytes that were sent, its arithmetic with examples worked by hand."""

import json
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.errors import Terminal
from fleetlab.simulator import Timeline, Truth
from fleetlab.simulator.counts import nearest_rank, windows
from fleetlab.simulator.ledger import Ledger
from fleetlab.simulator.records import DUPLICATE, EVENTS_TOPIC, VALID, Record
from fleetlab.simulator.world import ROAMING

TARIFFS = Path(__file__).parents[3] / "sql" / "tariffs"


def naive_status(events: list[dict[str, Any]], now_ms: int) -> str:
    """The status of a command from its events in any order."""
    last = max(e["command"]["attempt"] for e in events)
    steps = {e["event"]["action"]: e for e in events if e["command"]["attempt"] == last}
    deadline = next(iter(steps.values()))["command"]["deadline_at"]
    answer = steps.get("responded")
    if answer and answer["timestamp"] <= deadline:
        return str(answer["result"])
    if deadline > now_ms:
        return "open"
    return "timed_out" if "sent" in steps else "expired"


def test_statuses_equal_a_naive_reading_of_the_shuffled_bytes(
    small: Timeline, small_backlog: list[Record], small_truth: Truth
) -> None:
    sent = [r for r in small_backlog if r.fault in (VALID, DUPLICATE) and r.topic == "device-commands"]
    random.Random(3).shuffle(sent)
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in sent:
        body = json.loads(record.value or b"")
        events[body["command"]["id"]].append(body)
    expected = {key: naive_status(found, small.live_ms) for key, found in events.items()}
    told = {c.id: c.status for c in small_truth.commands(as_of=small.live_from)}
    assert told == expected
    assert {"succeeded", "failed", "rejected", "timed_out", "expired"} <= set(told.values())


def test_finished_commands_ended_as_they_were_planned(small: Timeline, small_truth: Truth) -> None:
    told = {c.id: c for c in small_truth.commands(as_of=small.live_from)}
    checked = 0
    for command in small.commands():
        last = command.attempts[-1]
        if max(last.deadline_ms, last.responded_ms or 0) + 10_000 > small.live_ms:
            continue
        assert told[last.command_id].status == command.outcome
        assert told[last.command_id].attempts == len(command.attempts)
        checked += 1
    assert checked > 1_000


def test_a_command_is_open_until_its_deadline(small: Timeline, small_truth: Truth) -> None:
    answered = {c.id for c in small_truth.commands(small.live_from) if c.latency_ms is not None}
    early = small_truth.commands(as_of=small.start - timedelta(days=1))
    assert {c.id for c in early if c.status != "open"} == answered


def test_every_valid_event_is_counted_once(small_backlog: list[Record], small_truth: Truth) -> None:
    valid = [r for r in small_backlog if r.fault == VALID]
    assert small_truth.event_counts() == Counter(r.kind for r in valid)
    assert small_truth.sent_events() == {(r.device, r.event_id) for r in valid}
    assert len(small_truth.sent_events("device-commands")) + len(small_truth.sent_events("device-events")) == len(valid)
    assert small_truth.duplicates() == sum(r.fault == DUPLICATE for r in small_backlog) > 0
    assert sum(small_truth.faults().values()) == len(small_truth.broken()) > 0
    assert max(small_truth.end_offsets().values()) == len(small_backlog)
    broken = {(r.topic, r.partition, n) for n, r in enumerate(small_backlog) if r.fault not in (VALID, DUPLICATE)}
    assert small_truth.broken() == broken


def test_traffic_counts_duplicates_once(small_backlog: list[Record], small_truth: Truth) -> None:
    expected: Counter[str] = Counter()
    for record in small_backlog:
        if record.fault == VALID and record.attempt and record.direction:
            expected[record.subject] += record.nbytes
    assert {key[0]: cell.bytes for key, cell in small_truth.traffic().items()} == expected
    with_telemetry = small_truth.traffic(stream=None)
    assert with_telemetry[("location",)].messages == small_truth.event_counts()["location"]


def test_telemetry_counts_each_event_and_device_once(small_backlog: list[Record], small_truth: Truth) -> None:
    valid = [r for r in small_backlog if r.fault == VALID and r.topic == EVENTS_TOPIC]
    cells = small_truth.telemetry("minute")
    assert sum(cell.events for cell in cells.values()) == len(valid)
    assert sum(cell.bytes for cell in cells.values()) == sum(r.nbytes for r in valid)
    assert set().union(*(cell.devices for cell in cells.values())) == {r.device for r in valid}
    assert {key[1] for key in cells} == {r.kind for r in valid}


def test_one_command_type_dominates_the_cost(small_truth: Truth) -> None:
    cost = small_truth.cost_krw(TARIFFS)
    total = sum(cost.values())
    assert cost[("locate",)] > total / 2
    assert all(value < total / 4 for key, value in cost.items() if key != ("locate",))


def test_cost_by_hand(small: Timeline, tmp_path: Path) -> None:
    (tmp_path / "tariff.yaml").write_text(
        """
entries:
  - {carrier: skt, valid_from: 2026-01-01T00:00:00+09:00, overhead_bytes: 10, step_bytes: 100, price: "0.1",
     rounding: message}
  - {carrier: skt, valid_from: 2026-11-17T09:00:00+09:00, overhead_bytes: 0, step_bytes: 100, price: "0.3",
     rounding: message}
  - {carrier: kt, valid_from: 2026-01-01T00:00:00+09:00, overhead_bytes: 0, step_bytes: 1, price: "0.01",
     rounding: message}
"""
    )

    def message(event_id: str, carrier: str, nbytes: int, at: str) -> Record:
        at_ms = int(datetime.fromisoformat(at).timestamp() * 1000)
        return Record(
            at_ms, event_id, 0, "device-commands", 0, b"sc-1", b"{}", VALID, "sc-1", "location", at_ms,
            "ring", carrier, "uplink", nbytes, None, "",
        )  # fmt: skip

    path = tmp_path / "truth.sqlite"
    with Ledger.create(path, small) as ledger:
        ledger.sent(
            [
                message("a", "skt", 90, "2026-11-17T08:59:59.999+09:00"),  # 100 bytes: 1 step of 0.1
                message("b", "skt", 91, "2026-11-17T08:30:00+09:00"),  # 101 bytes: 2 steps
                message("c", "skt", 101, "2026-11-17T09:00:00+09:00"),  # the new price: 2 steps of 0.3
                message("d", "kt", 7, "2026-11-17T09:00:00+09:00"),
            ],
            range(4),
        )
    truth = Truth(path)
    by_hour = truth.cost_krw(tmp_path, "hour", (), stream=None)
    assert by_hour == {
        (datetime(2026, 11, 16, 23, tzinfo=UTC),): Decimal("0.3"),
        (datetime(2026, 11, 17, 0, tzinfo=UTC),): Decimal("0.67"),
    }
    assert truth.cost_krw(tmp_path, None, ("carrier",), stream=None) == {
        ("skt",): Decimal("0.9"),
        ("kt",): Decimal("0.07"),
    }


def test_each_vehicle_is_in_one_state_at_a_time(small: Timeline, small_truth: Truth) -> None:
    """Between the first change of each vehicle and 48 hours after its last, no millisecond is lost or doubled."""
    told: dict[int, list[int]] = defaultdict(list)
    for change in small.trips.states:
        if change.at_ms <= small.live_ms:
            told[change.vehicle.number].append(change.at_ms)
    expected = sum(max(times) - min(times) + 48 * 3_600_000 for times in told.values())
    for grain in ("minute", "hour", "day"):
        cells = small_truth.state_ms(grain)
        assert sum(cells.values()) == expected
        assert {state for _, state, _ in cells} >= {"available", "on_trip"}


def test_messages_without_a_price_are_counted_beside_the_cost(small_truth: Truth, tmp_path: Path) -> None:
    messages = {key: cell.messages for key, cell in small_truth.traffic("hour", ("subject", "carrier")).items()}
    unpriced = small_truth.unpriced_messages(TARIFFS, "hour", ("subject", "carrier"))
    assert unpriced == {key: count if key[2] == ROAMING.code else 0 for key, count in messages.items()}
    assert any(unpriced.values())
    cost = small_truth.cost_krw(TARIFFS, "hour", ("subject", "carrier"))
    assert {key for key, krw in cost.items() if not krw} == {key for key, count in unpriced.items() if count}
    assert set(small_truth.cost_krw(tmp_path).values()) == {Decimal(0)}  # no tariff at all
    by_subject = small_truth.traffic(None, ("subject",))
    assert small_truth.unpriced_messages(tmp_path) == {key: cell.messages for key, cell in by_subject.items()}


def test_rentals_as_of_an_instant(small: Timeline, small_truth: Truth) -> None:
    rentals = [r for r in small.trips.rentals if r.started_ms <= small.live_ms]
    total = small_truth.rental_counts()[()]
    ended = [r for r in rentals if r.ended_ms <= small.live_ms]
    refunded = [r for r in ended if r.refunded_ms is not None and r.refunded_ms <= small.live_ms]
    assert (total.started, total.completed, total.refunded) == (len(rentals), len(ended), len(refunded))
    assert total.open == len(rentals) - len(ended) > 0
    assert total.refunded > 0
    assert total.fare_krw == sum(r.fare_krw for r in ended)
    assert total.duration_total_s * 1000 == sum(r.ended_ms - r.started_ms for r in ended)

    noon = small.live_from - timedelta(hours=8)
    noon_ms = int(noon.timestamp() * 1000)
    then = small_truth.rental_counts("day", ("zone", "model"), as_of=noon)
    assert sum(c.started for c in then.values()) == sum(r.started_ms <= noon_ms for r in rentals)
    assert sum(c.completed for c in then.values()) == sum(r.ended_ms <= noon_ms for r in rentals)


def test_windows_add_up_and_until_cuts(small: Timeline, small_truth: Truth) -> None:
    now = small.live_from
    total = small_truth.command_counts(as_of=now)[()].requested
    for grain in ("minute", "hour", "day"):
        cells = small_truth.command_counts(grain, ("type", "firmware"), as_of=now)
        assert sum(c.requested for c in cells.values()) == total
    edge = now.replace(minute=0, second=0, microsecond=0)
    cut = small_truth.command_counts("hour", until=edge, as_of=now)
    assert max(key[0] for key in cut) < edge  # type: ignore[type-var, operator]
    assert all(small_truth.command_counts("hour", as_of=now)[key] == cell for key, cell in cut.items())


@given(st.lists(st.integers(0, 1_000), min_size=1), st.floats(0.01, 1.0))
def test_nearest_rank_is_the_smallest_value_that_the_share_does_not_exceed(values: list[int], q: float) -> None:
    found = nearest_rank(values, q)
    assert found in values
    below = sum(v <= found for v in values)
    assert below >= ceil(q * len(values))
    smaller = [v for v in values if v < found]
    assert not smaller or len(smaller) < ceil(q * len(values))


@given(st.integers(1_577_836_800, 1_893_456_000), st.sampled_from(["Asia/Seoul", "Asia/Kolkata"]))
def test_windows_follow_the_local_clock(second: int, zone: str) -> None:
    time_zone = ZoneInfo(zone)
    at_ms = second * 1000 + 999
    local = datetime.fromtimestamp(at_ms / 1000, time_zone)
    expected = {
        "minute": local.replace(second=0, microsecond=0),
        "hour": local.replace(minute=0, second=0, microsecond=0),
        "day": local.replace(hour=0, minute=0, second=0, microsecond=0),
    }
    for grain, start in expected.items():
        assert windows(grain, time_zone)(at_ms) == (start.astimezone(UTC),)  # type: ignore[arg-type]


def test_a_missing_truth_is_told(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="simulate first"):
        Truth(tmp_path / "nothing.sqlite")
