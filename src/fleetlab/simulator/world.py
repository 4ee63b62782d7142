"""Who and what exists: zones, models, carriers, vehicles with their SIMs, riders."""

import random
from bisect import bisect_right
from dataclasses import dataclass, field

from fleetlab.simulator.scale import Dice, Scale


@dataclass(frozen=True, slots=True)
class Zone:
    """A service zone: a centre (WGS 84), how busy it is, and what draws people there."""

    code: str
    name: str
    lat: float
    lng: float
    weight: float
    kind: str
    slow: bool = False
    """A zone with a lower speed limit, set by command when a ride begins there."""


@dataclass(frozen=True, slots=True)
class Model:
    """A vehicle model. `latency` and `failure` are factors on the fleet's average."""

    code: str
    maker: str
    share: float
    max_speed_kmh: int
    latency: float
    failure: float


@dataclass(frozen=True, slots=True)
class Carrier:
    """A mobile carrier. `latency` is a factor; `prefix` begins the ICCID of its SIMs."""

    code: str
    name: str
    share: float
    latency: float
    prefix: str


ZONES = (
    Zone("gangnam", "Gangnam Station", 37.4979, 127.0276, 1.5, "office", slow=True),
    Zone("yeouido", "Yeouido", 37.5216, 126.9243, 1.2, "office"),
    Zone("jongno", "Jongno", 37.5704, 126.9920, 1.0, "office", slow=True),
    Zone("magok", "Magok", 37.5602, 126.8254, 0.7, "office"),
    Zone("hongdae", "Hongdae", 37.5563, 126.9236, 1.4, "nightlife", slow=True),
    Zone("itaewon", "Itaewon", 37.5345, 126.9946, 0.7, "nightlife"),
    Zone("seongsu", "Seongsu", 37.5446, 127.0557, 1.1, "nightlife"),
    Zone("jamsil", "Jamsil", 37.5133, 127.1002, 1.1, "home"),
    Zone("mapo", "Mapo", 37.5509, 126.9540, 0.9, "home"),
    Zone("nowon", "Nowon", 37.6543, 127.0568, 0.7, "home"),
    Zone("sinchon", "Sinchon", 37.5598, 126.9425, 0.9, "campus", slow=True),
    Zone("gwanak", "Gwanak", 37.4784, 126.9516, 1.0, "campus"),
    Zone("ttukseom", "Ttukseom Hangang Park", 37.5293, 127.0699, 0.7, "park"),
)

MODELS = (
    Model("m365-pro", "Xiaomi", 0.38, 25, 1.0, 0.90),
    Model("g30-max", "Segway", 0.32, 25, 0.85, 0.80),
    Model("s2-city", "Hyosung", 0.20, 20, 1.2, 1.15),
    Model("kick-x1", "Daelim", 0.10, 20, 1.6, 1.60),
)

CARRIERS = (
    Carrier("skt", "SK Telecom", 0.50, 0.90, "898205"),
    Carrier("kt", "KT", 0.30, 1.05, "898230"),
    Carrier("lguplus", "LG U+", 0.20, 1.25, "898206"),
)
ROAMING = Carrier("freetel", "Freetel", 0.03, 1.1, "898299")
"""Of some vehicles, besides; no tariff knows it."""

OLD, CURRENT, NEWEST = "2.3.0", "2.4.1", "2.5.0"
FIRMWARE_FAILURE = {OLD: 0.050, CURRENT: 0.045, NEWEST: 0.140}
"""Chance that a command fails for good on an average model: the newest firmware is visibly worse."""
_FIRMWARE_SHARE = {OLD: 0.32, CURRENT: 0.58, NEWEST: 0.10}


@dataclass(slots=True)
class Vehicle:
    """A scooter and its device. `firmware` is its history: instants (ms) and the versions that began then."""

    number: int
    code: str
    model: Model
    carrier: Carrier
    iccid: str
    zone: Zone
    lat: float
    lng: float
    commissioned_ms: int
    skew_ms: int
    """How far the device's clock is ahead of the server's."""
    ageing: bool
    odometer_m: int
    battery: float
    firmware_since: list[int] = field(default_factory=list)
    firmware: list[str] = field(default_factory=list)

    def firmware_at(self, instant_ms: int) -> str:
        """The version that ran at an instant (ms); before the first known one, that one."""
        return self.firmware[max(0, bisect_right(self.firmware_since, instant_ms) - 1)]


@dataclass(frozen=True, slots=True)
class Rider:
    """A customer, known by a pseudonym."""

    number: int
    code: str
    signed_up_ms: int
    city_pass: bool
    """Pays no unlock fee."""


@dataclass(frozen=True)
class World:
    """The company as it was when the timeline began."""

    vehicles: tuple[Vehicle, ...]
    riders: tuple[Rider, ...]


_DAY = 86_400_000


def around(rng: random.Random, zone: Zone) -> tuple[float, float]:
    """A location in a zone: within some 700 m of its centre."""
    return zone.lat + rng.gauss(0, 0.0045), zone.lng + rng.gauss(0, 0.0057)


def nearest(lat: float, lng: float) -> Zone:
    """The zone whose centre is closest; a degree of longitude is 0.79 of one of latitude in Seoul."""
    return min(ZONES, key=lambda z: (z.lat - lat) ** 2 + (0.79 * (z.lng - lng)) ** 2)


def build(scale: Scale, dice: Dice, start_ms: int) -> World:
    """The company at `start_ms`."""
    rng = dice.stream("world")
    vehicles = []
    carriers = (*CARRIERS, ROAMING) if scale.unkind.carrier_without_tariff else CARRIERS
    for number in range(1, scale.vehicles + 1):
        zone = rng.choices(ZONES, [z.weight for z in ZONES])[0]
        model = rng.choices(MODELS, [m.share for m in MODELS])[0]
        carrier = rng.choices(carriers, [c.share for c in carriers])[0]
        age_days = rng.randrange(40, 1100)
        lat, lng = around(rng, zone)
        version = rng.choices(list(_FIRMWARE_SHARE), list(_FIRMWARE_SHARE.values()))[0]
        vehicle = Vehicle(
            number,
            f"sc-{number:05d}",
            model,
            carrier,
            f"{carrier.prefix}{rng.randrange(10**12):012d}{number % 10}",
            zone,
            lat,
            lng,
            start_ms - age_days * _DAY,
            rng.choice((-1, 1)) * rng.randrange(20_000, 240_000)
            if rng.random() < 0.01
            else rng.randrange(-2_500, 2_500),
            False,
            age_days * rng.randrange(1_500, 6_000),
            rng.uniform(45, 100),
        )
        vehicle.firmware_since.append(vehicle.commissioned_ms + rng.randrange(1, 39) * _DAY)
        vehicle.firmware.append(version)
        vehicles.append(vehicle)
    for vehicle in _ageing(scale, dice, vehicles):
        vehicle.ageing = True
    if scale.unkind.wrong_clocks:
        _spoil_clocks(dice.stream("clocks"), vehicles)
    riders = tuple(
        Rider(n, f"rd-{dice.tag}-{n:06d}", start_ms - rng.randrange(1, 900) * _DAY, rng.random() < 0.12)
        for n in range(1, scale.vehicles * 4 + 1)
    )
    return World(tuple(vehicles), riders)


def _ageing(scale: Scale, dice: Dice, vehicles: list[Vehicle]) -> list[Vehicle]:
    """The most-driven ones; or, by the model of stops, some of those that were driven much."""
    if scale.stops is None:
        return sorted(vehicles, key=lambda v: -v.odometer_m)[: max(3, scale.vehicles // 100)]
    rng = dice.stream("aged")
    # the largest of keys u ** (1 / weight): a sample without replacement
    ranked = sorted(vehicles, key=lambda v: -(rng.random() ** (1 / v.odometer_m)))
    return ranked[: round(scale.vehicles * scale.stops.ageing)]


def _spoil_clocks(rng: random.Random, vehicles: list[Vehicle]) -> None:
    """Of every 200 vehicles one is weeks off, either way, and one is days behind."""
    count = max(1, len(vehicles) // 200)
    for number, vehicle in enumerate(rng.sample(vehicles, 2 * count)):
        weeks = rng.choice((-1, 1)) * rng.randrange(8 * _DAY, 40 * _DAY)
        vehicle.skew_ms = weeks if number < count else -rng.randrange(_DAY, 6 * _DAY)
