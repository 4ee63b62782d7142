"""The model of sudden stops and decoys: as docs/sudden-stops.md says, and without effect where it is not asked for."""

import json
import sys
from collections import Counter
from datetime import datetime
from itertools import pairwise

import pytest
from test_simulator_contracts import keeps_contract

from fleetgauge.errors import Terminal
from fleetlab import cli
from fleetlab.simulator import Scale, Timeline
from fleetlab.simulator.records import VALID, Record
from fleetlab.simulator.stops import FAULTS, Stops
from fleetlab.simulator.trips import Rental


@pytest.fixture(scope="module")
def week(tuesday: datetime) -> Timeline:
    scale = Scale(vehicles=200, days=6, live_seconds=0, stops=Stops(ageing=0.08, decoys=2))
    return Timeline.ending(scale, tuesday)


@pytest.fixture(scope="module")
def told(week: Timeline) -> dict[str, list[Record]]:
    """Valid reports by trip, of every third vehicle and of those that age."""
    found: dict[str, list[Record]] = {}
    for vehicle, records in week.telemetry():
        for record in records if vehicle.ageing or vehicle.number % 3 == 0 else ():
            if record.fault == VALID and record.value is not None:
                found.setdefault(json.loads(record.value).get("trip_id", ""), []).append(record)
    return found


def ended(plan: Timeline, kind: str) -> list[Rental]:
    return [r for r in plan.trips.rentals if r.course and r.course.end_kind == kind and r.ended_ms < plan.end_ms]


def test_ageing_vehicles_stop_more_often_from_day_to_day(week: Timeline) -> None:
    rides, stops = Counter[int](), Counter[int]()
    for rental in week.trips.rentals:
        if rental.vehicle.ageing:
            half = (rental.started_ms - week.start_ms) // (3 * 86_400_000)
            rides[half] += 1
            stops[half] += rental.stopped_ms is not None
    assert sum(v.ageing for v in week.world.vehicles) == 16
    assert stops[0] / rides[0] < stops[1] / rides[1]
    assert all(r.vehicle.ageing for r in ended(week, "stop"))
    assert 0.05 < sum(stops.values()) / sum(rides.values()) < 0.5


def test_wheels_stand_still_after_a_stop(week: Timeline, told: dict[str, list[Record]]) -> None:
    stopped = ended(week, "stop")
    faults = 0
    for rental in stopped:
        assert rental.stopped_ms and 20 * 60_000 <= rental.ended_ms - rental.stopped_ms <= 90 * 60_000
        after = [
            json.loads(r.value or b"")
            for r in told.get(rental.id, [])
            if r.event_ms - rental.vehicle.skew_ms > rental.stopped_ms + (1_000 if r.kind == "odometer" else 0)
        ]
        assert {body["speed"] for body in after if body["kind"] == "location"} <= {0.0}
        assert len({body["odometer_m"] for body in after if body["kind"] == "odometer"}) <= 1
        faults += any(body.get("error_code") in FAULTS for body in after)
    assert 0.4 < faults / len(stopped) < 0.75


@pytest.mark.parametrize(
    ("kind", "share"),
    [("pause", 0.12), ("tunnel", 0.06), ("drift", 0.06), ("warning", 0.08), ("empty", 0.02), ("walk_away", 0.03)],
)
def test_decoys_are_as_frequent_as_told(kind: str, share: float, week: Timeline) -> None:
    rentals = week.trips.rentals
    count = sum(kind in set(r.course.decoys()) for r in rentals if r.course)
    assert 0.7 * share < count / len(rentals) < 1.3 * share


def test_a_drifting_vehicle_rides_on(week: Timeline, told: dict[str, list[Record]]) -> None:
    advanced = 0
    for rental in week.trips.rentals:
        course = rental.course
        if course is None or course.drift is None or course.period_ms != 18_000 or course.end_kind != "parked":
            continue
        within = [
            json.loads(r.value or b"")
            for r in told.get(rental.id, [])
            if course.drift.from_ms <= r.event_ms - rental.vehicle.skew_ms < course.drift.until_ms - 1_000
        ]
        assert {b["speed"] for b in within if b["kind"] == "location"} <= {0.0}
        metres = [b["odometer_m"] for b in within if b["kind"] == "odometer"]
        advanced += len(metres) > 1 and max(metres) > min(metres)
    assert advanced > 10


def test_all_of_it_keeps_the_contracts(told: dict[str, list[Record]]) -> None:
    sample = [record for records in told.values() for record in records][::400]
    assert {record.kind for record in sample} >= {"location", "odometer", "battery"}
    for record in sample:
        assert keeps_contract(record.value), record


def test_a_vehicle_is_in_one_trip_at_a_time_and_the_log_is_in_order(week: Timeline) -> None:
    for rentals in week.trips.by_vehicle.values():
        assert all(a.ended_ms < b.started_ms for a, b in pairwise(rentals))
    last: dict[int, int] = {}
    for change in week.trips.states:
        assert change.at_ms >= last.get(change.vehicle.number, 0)
        last[change.vehicle.number] = change.at_ms


def test_no_decoys_and_no_ageing_leave_nothing(tuesday: datetime) -> None:
    plan = Timeline.ending(Scale(vehicles=60, days=1, live_seconds=0, stops=Stops(0, 0)), tuesday)
    assert plan.trips.rentals
    assert not [kind for r in plan.trips.rentals if r.course for kind in r.course.decoys()]
    assert not [r for r in plan.trips.rentals if r.stopped_ms]


def test_two_and_two_point_nought_are_the_same_company() -> None:
    assert repr(Stops(0, 2)) == repr(Stops(0.0, 2.0))


@pytest.mark.parametrize("bad", [{"ageing": 0.6}, {"decoys": -1}])
def test_senseless_shares_are_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(Terminal, match=next(iter(bad))):
        Stops(**bad)


def test_the_seed_alone_tells_who_was_planted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "truth suspects --seed 4 --vehicles 200 --days 3 --ageing 0.05 --start 2026-11-14T11:30:00 --json"
    monkeypatch.setattr(sys, "argv", ["fleetlab", *arguments.split()])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 0
    answer = json.loads(capsys.readouterr().out)
    scale = Scale(vehicles=200, days=3, seed=4, live_seconds=0, stops=Stops(0.05))
    plan = Timeline.ending(scale, datetime.fromisoformat("2026-11-17T11:30:00+00:00"))
    stops = [r for r in plan.trips.rentals if r.stopped_ms and r.stopped_ms <= plan.end_ms]
    assert stops
    assert {s["trip"] for one in answer["suspects"] for s in one["stops"]} == {r.id for r in stops}
    assert {one["vehicle"] for one in answer["suspects"]} == {r.vehicle.code for r in stops}
