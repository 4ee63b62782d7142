"""What a device reports on a ride whose course is planned: halts, gaps, drift, faults. See docs/sudden-stops.md."""

from math import atan2, degrees, sin

from fleetlab.simulator.faults import spoil
from fleetlab.simulator.records import Record
from fleetlab.simulator.scale import Dice
from fleetlab.simulator.stops import RATES, STANDING_FACTOR, Course
from fleetlab.simulator.telemetry import Reporter
from fleetlab.simulator.trips import Rental

_ODOMETER_MS = 60_000
_BATTERY_MS = 120_000
_LONG_HALT_MS = 180_000


def of_course(dice: Dice, rental: Rental, course: Course) -> list[Record]:
    """Everything a device reports on one ride, and when it falls over afterwards; with faults of the way."""
    rng = dice.stream("ctel", rental.number)
    vehicle, start, end = rental.vehicle, rental.started_ms, rental.ended_ms
    report = Reporter(
        vehicle, vehicle.firmware_at(start), f"{dice.tag}r{rental.number:x}", rng, dice.unkind.varying_sizes, rental.id
    )
    (lat0, lng0), (lat1, lng1) = rental.start, rental.end
    heading = int(degrees(atan2((lng1 - lng0) * 0.79, lat1 - lat0)) % 360)
    cruise, bend = rental.distance_m / course.ridden_ms * 1000, rng.uniform(-0.004, 0.004)

    def location(at_ms: int) -> tuple[float, float]:
        share = course.share(at_ms)
        wave = bend * sin(share * 3.1416)
        return lat0 + (lat1 - lat0) * share + wave, lng0 + (lng1 - lng0) * share - wave

    def metres(at_ms: int) -> int:
        return rental.odometer_m + int(course.share(at_ms) * rental.distance_m)

    def reachable(at_ms: int) -> bool:
        """Whether anything is measured; how long it is held back is set on the way."""
        gap = next((g for g in course.gaps if g.from_ms <= at_ms < g.until_ms), None)
        if gap is not None and not gap.kept:
            return False
        report.held_until = course.late_until_ms or (gap.until_ms if gap else None)
        return True

    if reachable(start + 700):
        report.odometer(start + 700, rental.odometer_m)
    at, next_battery, next_odometer = start + 1_500 + rng.randrange(2_000), start + 2_500, start + _ODOMETER_MS
    while at < end - 1_000:
        halt = course.halt_at(at)
        drifting = course.drift is not None and course.drift.from_ms <= at < course.drift.until_ms
        if reachable(at):
            lat, lng = location(course.drift.from_ms if course.drift is not None and drifting else at)
            accuracy = 2.0 + rng.random() * 9
            if course.jumps and halt is not None and halt.until_ms - halt.from_ms >= _LONG_HALT_MS:
                lat, lng, accuracy = lat + rng.gauss(0, 0.001), lng + rng.gauss(0, 0.0012), rng.uniform(40, 150)
            still = halt is not None or drifting
            speed = 0.0 if still else min(7.0, cruise * (0.75 + rng.random() * 0.7))
            report.location(at, lat, lng, speed, (heading + rng.randrange(-15, 16)) % 360, accuracy)
            if at >= next_battery:
                report.battery(at + 400, rental.battery - course.share(at) * rental.distance_m / 400)
                next_battery = at + _BATTERY_MS
            if at >= next_odometer:
                report.odometer(at + 500, metres(at))
                next_odometer = at + _ODOMETER_MS
        period = course.period_ms * (STANDING_FACTOR if halt is not None and halt.kind != "light" else 1)
        at += int(period * rng.uniform(0.95, 1.05))
    for fault in course.faults:
        # a vehicle that dies says why before it is silent
        if reachable(fault.at_ms):
            report.error(fault.at_ms, fault.code, fault.severity, *location(fault.at_ms))
    for fell, upright in course.tips:
        for instant, tipped in ((fell, True), (upright - 800, False)):
            if reachable(instant):
                report.tip_over(instant, tipped, *location(instant))
    report.held_until = course.late_until_ms
    if course.called:
        report.location(end - 300, *location(end), 0.0, heading, 3.0)
        report.odometer(end - 200, metres(end))
    if course.end_kind == "parked" and rng.random() < RATES.tip_parked * (dice.stops.decoys if dice.stops else 1):
        fell = end + rng.randrange(60_000, 3_600_000)
        report.tip_over(fell, True, lat1, lng1)
        report.tip_over(fell + rng.randrange(60_000, 7_200_000), False, lat1, lng1)
    return spoil(report.records, rng)
