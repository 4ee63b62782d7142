"""What devices report: bytes in the shape of `schemas/events`, written by template, since there are so many."""

import random
from functools import lru_cache
from math import atan2, degrees, sin

from fleetlab.simulator.faults import out_of_time, spoil
from fleetlab.simulator.records import COMMANDS_TOPIC, EVENTS_TOPIC, VALID, Attempt, Record, partition_of
from fleetlab.simulator.scale import SHIFT_MS, SHIFTS, Dice
from fleetlab.simulator.trips import Rental, Trips
from fleetlab.simulator.world import Vehicle

_STANDING_MS = 18_000
"""Between two positions of a vehicle that has died."""
BYTES = {"location": 96, "battery": 48, "odometer": 40, "tip_over": 56, "device_error": 72}
"""Payload over the air, by kind."""


@lru_cache(maxsize=300_000)
def _device(code: str, model: str, firmware: str) -> str:
    return f'"device":{{"id":"{code}","model":"{model}","firmware":"{firmware}"}},"timestamp":'


class Reporter:
    """Collects one vehicle's telemetry. Ids are `<prefix>-<n>`; with `varying` no two payloads need be of one size."""

    def __init__(
        self,
        vehicle: Vehicle,
        firmware: str,
        prefix: str,
        rng: random.Random,
        varying: bool,
        trip: str = "",
        batch: int = 1,
    ) -> None:
        self._varying, self._batch = varying, batch
        self.records: list[Record] = []
        self.rng = rng
        self.held_until: int | None = None
        """While the device has no network it keeps its reports, and sends them when it is back at this instant."""
        self._vehicle, self._prefix, self._count = vehicle, prefix, 0
        self._device = _device(vehicle.code, vehicle.model.code, firmware)
        self._network = (
            f',"network":{{"carrier":"{vehicle.carrier.code}","sim":"{vehicle.iccid}"}},"message":{{"bytes":'
        )
        self._end = f',"trip_id":"{trip}"}}' if trip else "}"
        self._key, self._partition = vehicle.code.encode(), partition_of(vehicle.code)

    def add(self, at_ms: int, kind: str, dataset: str, fields: str, detail: str = "") -> None:
        """One report made at `at_ms` of true time; `fields`: its kind's own, as JSON text; `detail`: see `Record`."""
        self._count += 1
        event_id = f"{self._prefix}-{self._count:x}"
        stamp = at_ms + self._vehicle.skew_ms
        nbytes = BYTES[kind] + (self.rng.randrange(64) if self._varying else 0)
        # battery reports carry no trip in their contract
        end = "}" if kind == "battery" else self._end
        value = (
            f'{{"kind":"{kind}","version":1,"event":{{"id":"{event_id}","action":"{kind}","dataset":"{dataset}"}},'
            f'{self._device}{stamp}{self._network}{nbytes},"direction":"uplink"}},{fields}{end}'
        )
        if self.held_until is None:
            append = at_ms + 90 + int(self.rng.random() * 900)
        else:
            append = max(self.held_until, at_ms) + 50 + 11 * self._count
        self.records.append(
            Record(
                append, event_id, 0, EVENTS_TOPIC, self._partition, self._key, value.encode(),
                out_of_time(stamp, append),
                self._vehicle.code, kind, stamp, kind, self._vehicle.carrier.code, "uplink", nbytes, None, "", detail,
            )
        )  # fmt: skip

    def batched(self) -> list[Record]:
        """What is sent: so many positions as one message, the last of them, with the payload of all."""
        if self._batch == 1:
            return self.records
        positions = [one for one in self.records if one.kind == "location"]
        sent = [one for one in self.records if one.kind != "location"]
        for at in range(0, len(positions), self._batch):
            some = positions[at : at + self._batch]
            size = sum(one.nbytes for one in some)
            last, written = some[-1], f'"message":{{"bytes":{some[-1].nbytes},'.encode()
            assert last.value is not None
            value = last.value.replace(written, f'"message":{{"bytes":{size},'.encode(), 1)
            sent.append(last._replace(nbytes=size, value=value))
        return sent

    def location(self, at_ms: int, lat: float, lng: float, speed: float, heading: int, accuracy: float) -> None:
        self.add(
            at_ms,
            "location",
            "device.location",
            f'"location":{{"lat":{lat:.6f},"lng":{lng:.6f}}},"speed":{speed:.1f},"heading":{heading},'
            f'"horizontal_accuracy":{accuracy:.1f}',
        )

    def battery(self, at_ms: int, percent: float) -> None:
        whole = min(100, max(0, int(percent)))
        self.add(
            at_ms,
            "battery",
            "device.battery",
            f'"battery_percent":{whole},"voltage_mv":{34_000 + 76 * whole},'
            f'"temperature_c":{14 + self.rng.random() * 18:.1f}',
            str(whole),
        )

    def odometer(self, at_ms: int, metres: int) -> None:
        self.add(at_ms, "odometer", "device.odometer", f'"odometer_m":{metres}', str(metres))

    def error(self, at_ms: int, code: str, severity: str, lat: float, lng: float) -> None:
        self.add(
            at_ms,
            "device_error",
            "device.error",
            f'"error_code":"{code}","severity":"{severity}","location":{{"lat":{lat:.6f},"lng":{lng:.6f}}}',
            code,
        )

    def tip_over(self, at_ms: int, tipped: bool, lat: float, lng: float) -> None:
        self.add(
            at_ms,
            "tip_over",
            "device.tip_over",
            f'"tipped_over":{str(tipped).lower()},"location":{{"lat":{lat:.6f},"lng":{lng:.6f}}}',
            f"{str(tipped).lower()} {lat:.6f} {lng:.6f}",
        )


def of_rental(dice: Dice, rental: Rental) -> list[Record]:
    """Everything a device reports on one ride, and when it falls over afterwards; with faults."""
    rng = dice.stream("rtel", rental.number)
    vehicle, start, end = rental.vehicle, rental.started_ms, rental.riding_until_ms
    varying, batch = dice.unkind.varying_sizes, dice.habits.batch
    report = Reporter(
        vehicle, vehicle.firmware_at(start), f"{dice.tag}r{rental.number:x}", rng, varying, rental.id, batch
    )
    (lat0, lng0), (lat1, lng1) = rental.start, rental.end
    heading = int(degrees(atan2((lng1 - lng0) * 0.79, lat1 - lat0)) % 360)
    cruise = rental.distance_m / (end - start) * 1000
    bend = rng.uniform(-0.004, 0.004)
    lost_from, lost_until = end + 1, 0
    if rng.random() < 0.02:
        lost_from = rng.randrange(start, end)
        lost_until = lost_from + int(min(6 * 3_600_000, rng.lognormvariate(14.3, 1.0)))
    random_ = rng.random
    report.odometer(start + 700, rental.odometer_m)
    at, next_battery = start + 1_500 + int(random_() * 2_000), start + 2_500
    while at < end:
        if at >= lost_from:
            report.held_until = lost_until
        share = (at - start) / (end - start)
        wave = bend * sin(share * 3.1416)
        halted = random_() < 0.12  # a red light
        report.location(
            at,
            lat0 + (lat1 - lat0) * share + wave,
            lng0 + (lng1 - lng0) * share - wave,
            0.0 if halted else min(7.0, cruise * (0.75 + random_() * 0.7)),
            (heading + int(random_() * 30) - 15) % 360,
            2.0 + random_() * 9,
        )
        if at >= next_battery:
            report.battery(at + 400, rental.battery - share * rental.distance_m / 400)
            next_battery += 120_000
        at += dice.habits.interval_ms - 900 + int(random_() * 1_800)
    if rental.stopped_ms is not None:
        _die(report, rental)
    else:
        report.location(end - 300, lat1, lng1, 0.0, heading, 3.0)
        report.odometer(end - 200, rental.odometer_m + rental.distance_m)
        if random_() < 0.02:
            report.error(end - 150, rng.choice(("BRAKE_SENSOR", "BMS_TEMP", "GNSS_WEAK")), "warning", lat1, lng1)
        if random_() < 0.05:
            fell = end + rng.randrange(60_000, 3_600_000)
            report.tip_over(fell, True, lat1, lng1)
            report.tip_over(fell + rng.randrange(60_000, 7_200_000), False, lat1, lng1)
    return spoil(report.batched(), rng)


def _die(report: Reporter, rental: Rental) -> None:
    """The vehicle stops under its rider: a fault, some reports of standing still, then silence until it is fetched."""
    assert rental.stopped_ms is not None
    rng, at, (lat, lng) = report.rng, rental.stopped_ms, rental.end
    report.error(at + 120, rng.choice(("CONTROLLER_FAULT", "BATTERY_CUTOFF", "MOTOR_STALL")), "critical", lat, lng)
    for count in range(rng.randrange(1, 6)):
        report.location(at + 2_000 + count * _STANDING_MS, lat, lng, 0.0, 0, 4.0)
    report.location(rental.ended_ms - 5_000, lat, lng, 0.0, 0, 4.0)
    report.odometer(rental.ended_ms - 4_000, rental.odometer_m + rental.distance_m)


def of_parked(dice: Dice, trips: Trips, vehicle: Vehicle, shift: int, from_ms: int) -> list[Record]:
    """A parked vehicle's few reports in the shift from `from_ms`, the timeline's `shift`-th; with faults."""
    rng = dice.stream("ptel", vehicle.number * SHIFTS + shift)
    varying = dice.unkind.varying_sizes
    report = Reporter(vehicle, vehicle.firmware_at(from_ms), f"{dice.tag}p{vehicle.number:x}-{shift}", rng, varying)
    for at in sorted(from_ms + rng.randrange(SHIFT_MS) for _ in range(1 + (rng.random() < 0.5))):
        state = trips.last_state(vehicle, at)
        if (state is None or state.state != "non_contactable") and trips.riding(vehicle, at) is None:
            lat, lng = state.location if state else (vehicle.lat, vehicle.lng)
            report.location(at, lat, lng, 0.0, 0, 3.0 + rng.random() * 6)
            report.battery(at + 300, 30 + rng.random() * 65)
    return spoil(report.records, rng)


def of_attempt(attempt: Attempt, vehicle: Vehicle, rng: random.Random) -> list[Record]:
    """The steps of one attempt, by the server's clock."""
    command = (
        f',"command":{{"id":"{attempt.command_id}","type":"{attempt.type}","attempt":{attempt.number},'
        f'"requested_at":{attempt.command_requested_ms},"deadline_at":{attempt.deadline_ms}}}'
    )
    key, partition = attempt.device.encode(), partition_of(attempt.device)
    records = []
    steps = (
        ("requested", attempt.requested_ms, "", 0),
        ("sent", attempt.sent_ms, "downlink", attempt.bytes_down),
        ("delivered", attempt.delivered_ms, "uplink", attempt.bytes_ack),
        ("responded", attempt.responded_ms, "uplink", attempt.bytes_up),
    )
    for number, (action, at, direction, nbytes) in enumerate(steps, 1):
        if at is None:
            continue
        event_id = f"{attempt.command_id[2:]}.{attempt.number}{number}"
        known = attempt.described(action)
        device = _device(attempt.device, known.model, known.firmware)
        network = f',"network":{{"carrier":"{known.carrier}","sim":"{vehicle.iccid}"}}'
        message = f',"message":{{"bytes":{nbytes},"direction":"{direction}"}}' if direction else ""
        kind, outcome, result = "command", "", ""
        if action == "responded":
            kind = "command_response"
            outcome = f',"outcome":"{"success" if attempt.result == "succeeded" else "failure"}"'
            result = f',"result":"{attempt.result}"'
            if attempt.error_code:
                result += f',"error_code":"{attempt.error_code}"'
        value = (
            f'{{"kind":"{kind}","version":1,"event":{{"id":"{event_id}","action":"{action}",'
            f'"dataset":"device.command"{outcome}}},{device}{at}{network}{message}{command}{result}}}'
        )
        # The gateways' own queues: mostly quick, now and then a second or two, so that steps change their order.
        delay = 4 + int(rng.expovariate(1 / 40)) + (rng.randrange(500, 3_000) if rng.random() < 0.01 else 0)
        records.append(
            Record(
                at + delay, event_id, 0, COMMANDS_TOPIC, partition, key, value.encode(), VALID,
                attempt.device, kind, at, attempt.type, known.carrier, direction, nbytes, attempt, action,
            )
        )  # fmt: skip
    return records
