"""What speaks for and against a sudden stop: trips made by hand, one for each thing that looks like one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from fleetgauge.fleet.episodes import Rules, candidates, episodes
from fleetgauge.fleet.points import Episode, VehicleDay, Weights, score
from fleetgauge.fleet.trip_reports import DeviceReport, ReportDevice, ReportEvent, Trip, skew_ms

MINUTE = 60_000
START = 1_795_000_000_000
RULES = Rules(frozenset({"MOTOR_STALL"}))


@dataclass
class Ride:
    """Reports of one ride, minute by minute; the vehicle drives 200 m in each minute that it moves."""

    trip: str = "t1"
    period_s: int = 20
    ahead_ms: int = 0
    begin: int = START
    reports: list[DeviceReport] = field(default_factory=list)
    metres: int = 1_000_000
    at: int = 0

    def _add(self, kind: str, at: int, **fields: float | str | bool) -> None:
        report = DeviceReport(
            kind, ReportEvent(f"{self.trip}-{len(self.reports)}"), ReportDevice("sc-1"), self.begin + at + self.ahead_ms
        )
        changed = {"trip_id": "" if kind == "battery" else self.trip, **fields}
        self.reports.append(DeviceReport(**{f: getattr(report, f) for f in report.__struct_fields__} | changed))  # type: ignore[arg-type]

    def go(self, minutes: float, *, speed: float = 4.0, heard: bool = True, metres: int = 200) -> "Ride":
        """Some minutes on the way; `metres` of road in each."""
        until = self.at + int(minutes * MINUTE)
        while self.at < until:
            if heard:
                self._add("location", self.at, speed=speed)
                if self.at % MINUTE < self.period_s * 1000:
                    self._add("odometer", self.at, odometer_m=self.metres)
            self.at += self.period_s * 1000
            self.metres += metres * self.period_s // 60
        return self

    def stand(self, minutes: float, *, heard: bool = True) -> "Ride":
        """Some minutes at rest, reported at a third of the pace."""
        until = self.at + int(minutes * MINUTE)
        while self.at < until:
            if heard:
                self._add("location", self.at, speed=0.0)
            self.at += 3 * self.period_s * 1000
        self.at = until
        return self

    def fault(self, code: str = "MOTOR_STALL") -> "Ride":
        self._add("device_error", self.at + 100, error_code=code)
        return self

    def fall(self) -> "Ride":
        self._add("tip_over", self.at + 200, tipped_over=True)
        return self

    def charge(self, percent: int) -> "Ride":
        self._add("battery", self.at - 1, battery_percent=percent)
        return self

    def end(self) -> "Ride":
        """The last report, as the trip ends."""
        self._add("location", self.at - 300, speed=0.0)
        self._add("odometer", self.at - 200, odometer_m=self.metres)
        return self


def judge(*rides: Ride, taken: Sequence[int] = (), rules: Rules = RULES) -> tuple[Episode, ...]:
    trips = {r.trip: Trip(r.trip, "7", r.begin, r.begin + r.at) for r in rides}
    reports = [report for r in rides for report in r.reports]
    found = candidates([r for r in reports if r.trip_id], trips, rules)
    return episodes(found, [r for r in reports if r.kind == "battery"], taken, rules)


def codes(*rides: Ride, taken: Sequence[int] = ()) -> set[str]:
    (one,) = judge(*rides, taken=taken)
    return {reason.code for reason in one.reasons}


def test_a_sudden_stop_is_told_with_its_evidence() -> None:
    ride = Ride().go(6).fault().stand(4).stand(36, heard=False)
    (one,) = judge(ride, taken=[START + ride.at + MINUTE])
    assert {r.code for r in one.reasons} == {"stood", "fault", "silent_later", "unheard_end", "out_of_service", "paid"}
    (fault,) = [r for r in one.reasons if r.code == "fault"]
    (event,) = fault.evidence
    assert event.what == "MOTOR_STALL" and event.at_ms == START + 6 * MINUTE + 100
    assert event.event_id in {r.event.id for r in ride.reports}
    assert "MOTOR_STALL" in fault.words
    assert one.points == pytest.approx(sum(r.points for r in one.reasons))
    assert score([VehicleDay("sc-1", (one,))], Weights()) > 0
    plain = one.to_dict()
    assert plain["stood_s"] == pytest.approx(40 * 60, abs=25)
    assert not {"'lat':", "'lng':", "'rider':"} & {*str(plain).split()}
    assert set(plain) >= {"trip", "stood_since_ms", "reasons"}


def test_a_pause_in_mid_trip_is_no_episode() -> None:
    assert judge(Ride().go(5).stand(45).go(4).end()) == ()


def test_red_lights_and_an_ordinary_end_are_no_episode() -> None:
    assert judge(Ride().go(3).stand(1).go(5).stand(0.5).go(2).stand(3).end()) == ()


def test_who_walks_away_leaves_a_vehicle_that_goes_on_to_report() -> None:
    found = judge(Ride().go(6).stand(40).end())
    assert {r.code for one in found for r in one.reasons} == {"stood", "no_fault", "heard", "stayed", "paid"}
    assert sum(one.points for one in found) == 0, "it does not speak for the vehicle either"


def test_a_tunnel_is_no_episode_whether_reports_were_held_or_never_made() -> None:
    held = Ride().go(20).end()  # event time tells when, not arrival
    unmade = Ride().go(4).go(12, heard=False).go(3).end()
    to_its_end = Ride().go(4).go(14, heard=False).end()
    assert judge(held) == judge(unmade) == judge(to_its_end) == ()


def test_a_frozen_position_is_no_standstill_while_the_odometer_goes_on() -> None:
    assert judge(Ride().go(4).go(20, speed=0.0).end()) == ()


def test_an_empty_battery_speaks_against_a_stop() -> None:
    ride = Ride().go(6).charge(2).fault().stand(12, heard=False)
    (one,) = judge(ride)
    assert {"empty", "fault"} <= {r.code for r in one.reasons}
    assert one.points < 5


def test_a_fault_code_counts_at_the_moment_of_the_stop_alone() -> None:
    assert "fault" in codes(Ride().go(6).fault().stand(30).end())
    assert "no_fault" in codes(Ride().go(2).fault().go(4).stand(30).end())
    assert "no_fault" in codes(Ride().go(6).stand(20).fault().stand(10).end())
    assert "no_fault" in codes(Ride().go(6).fault("GNSS_WEAK").stand(30).end())


def test_a_fall_counts_at_the_moment_of_the_stop_alone() -> None:
    assert "tip_over" in codes(Ride().go(6).fall().stand(30).end())
    assert "tip_over" not in codes(Ride().go(6).stand(20).fall().stand(10).end())


def test_silence_is_judged_by_the_vehicles_own_period() -> None:
    """Six minutes without a report say much of a vehicle that reports each minute, nothing of one that seldom does."""
    usual = [Ride("a", 20, begin=START - 10**7).go(3).stand(9).go(3).end()]
    seldom = [Ride("a", 180, begin=START - 10**7).go(9).stand(90).go(9).end()]
    stops = [Ride("b", period).go(9).stand(1).stand(17, heard=False) for period in (20, 180)]
    assert "silent_at_once" in codes(*usual, stops[0])
    assert not {"silent_at_once", "silent_later", "heard"} & codes(*seldom, stops[1])


def test_a_garage_silences_who_enters_it_and_a_failing_vehicle_falls_silent_where_it_had_been_heard() -> None:
    garage = Ride().go(6).stand(1).stand(39, heard=False).end()
    failing = Ride().go(6).stand(4).stand(36, heard=False).end()
    assert "silent_at_once" in codes(garage)
    assert "silent_later" in codes(failing)
    assert judge(failing)[0].points > judge(garage)[0].points + 2


def test_a_trip_that_ends_without_a_word_from_the_vehicle_speaks_for_a_stop() -> None:
    for ahead_ms in (-2_000, 0, 2_000):  # as far as any clock may be off
        heard = Ride(ahead_ms=ahead_ms).go(6).stand(40, heard=False).end()
        unheard = Ride(ahead_ms=ahead_ms).go(6).stand(40, heard=False)
        assert "unheard_end" not in codes(heard)
        assert "unheard_end" in codes(unheard)


def test_a_refund_speaks_for_the_rider_who_was_stranded() -> None:
    ride = Ride().go(6).fault().stand(40).end()
    points = []
    for refunded in (True, False):
        trips = {"t1": Trip("t1", "7", START, START + ride.at, refunded=refunded)}
        found = candidates(ride.reports, trips, RULES)
        points += [one.points for one in episodes(found, [], [], RULES)]
    assert points[0] > points[1] + 3


def test_a_clock_that_is_days_off_changes_nothing() -> None:
    right = Ride().go(6).charge(60).fault().stand(1).stand(39, heard=False)
    wrong = Ride(ahead_ms=-3 * 86_400_000).go(6).charge(60).fault().stand(1).stand(39, heard=False)
    shown = [[(r.code, r.points) for one in judge(ride) for r in one.reasons] for ride in (right, wrong)]
    assert shown[0] == shown[1]
    trips = {"t1": Trip("t1", "7", START, START + MINUTE)}
    assert skew_ms([r for r in wrong.reports if r.trip_id], trips) == -3 * 86_400_000


def test_the_order_in_which_reports_come_does_not_matter() -> None:
    ride = Ride().go(6).fault().stand(30).end()
    turned = replace(ride, reports=ride.reports[::-1])
    assert judge(ride) == judge(turned)


def test_points_add_up_over_days() -> None:
    silent = Ride().go(6).stand(4).stand(40, heard=False).end()
    day = VehicleDay("sc-1", judge(silent))
    scores = [score([day] * days, Weights()) for days in range(6)]
    assert scores[1] < 0 <= scores[3], "one such day is no proof, three are"
    assert scores == sorted(scores)
    assert day.reasons[0].startswith("+") and day.reasons[-1].startswith("-")


def test_a_trip_that_is_still_open_is_told_as_that() -> None:
    ride = Ride().go(6).fault().stand(1)
    trip = Trip("t1", "7", START, START + 50 * MINUTE, is_open=True)
    found = candidates(ride.reports, {"t1": trip}, RULES)
    (one,) = episodes(found, [], [], RULES)
    assert "still is in its trip" in one.reasons[0].words
    assert one.to_dict()["trip_ended_ms"] is None


def test_a_vehicle_of_which_nothing_was_heard_is_not_judged() -> None:
    assert candidates([], {"t1": Trip("t1", "7", START, START + 90 * MINUTE)}, RULES).standings == ()
