"""The carriers' bill by the simulator's own books, message by message: every message has its SIM, day and price."""

from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal, localcontext
from zoneinfo import ZoneInfo

from fleetlab.simulator.prices import Price, in_force

DAY = timedelta(days=1)
_BILLIONTH = Decimal("0.000000001")

Charge = tuple[date, str, str, str]
"""Local day, carrier, `usage` or `base_fee`, and how the tariff rounds; `message` for what has none."""
Kind = tuple[date, str, str, str]
"""Local day, carrier, subject (command type or kind of telemetry), direction."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that went over the air."""

    at_ms: int
    sim: str
    carrier: str
    subject: str
    direction: str
    nbytes: int


@dataclass(slots=True)
class Charged:
    """What is charged, of how many messages; `unpriced`: those of a carrier without a tariff."""

    messages: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0


@dataclass(slots=True)
class Bill:
    """What carriers charge, and which kinds of traffic bear it."""

    charges: dict[Charge, Charged] = field(default_factory=lambda: defaultdict(Charged))
    kinds: dict[Kind, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """Usage by kind: of messages with a price of their own the sum, else the day's cost by volume, not rounded."""


def bill(messages: Iterable[Sent], entries: list[Price], zone: ZoneInfo) -> Bill:
    """The bill of these messages, and of the base fees on the days from the first to the last of them."""
    found = Bill()
    dates: dict[int, date] = {}
    # Most messages share day, SIM, kind and size: count first, multiply afterwards.
    counted = Counter[tuple[date, str, str, str, str, int, Price | None]]()
    for one in messages:
        hour = one.at_ms // 3_600_000
        if hour not in dates:
            dates[hour] = datetime.fromtimestamp(hour * 3600, UTC).astimezone(zone).date()
        price = in_force(entries, one.carrier, one.at_ms)
        counted[dates[hour], one.sim, one.carrier, one.subject, one.direction, one.nbytes, price] += 1
    if not counted:
        return found
    known = min(key[0] for key in counted), max(key[0] for key in counted)
    volumes: dict[Price, dict[tuple[date, str], int]] = defaultdict(lambda: defaultdict(int))
    by_kind: dict[tuple[Price, date], dict[Kind, int]] = defaultdict(lambda: defaultdict(int))
    sims: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for (day, sim, carrier, subject, direction, nbytes, price), n in counted.items():
        sims[carrier, day.year, day.month].add(sim)
        rounding = "message" if price is None else price.rounding
        cell = found.charges[day, carrier, "usage", rounding]
        cell.messages += n
        kind = (day, carrier, subject, direction)
        if price is None:
            cell.unpriced += n
        elif rounding == "message":
            cell.cost += n * price.of(nbytes)
            found.kinds[kind] += n * price.of(nbytes)
        else:
            volumes[price][day, sim] += n * (nbytes + price.overhead)
            by_kind[price, day][kind] += n * (nbytes + price.overhead)
    for price in entries:
        many = {
            month: len(sims[price.carrier, *month]) if price.sims is None else price.sims for month in _months(known)
        }
        for day, cost in _usage(price, volumes[price], many, zone):
            found.charges[day, price.carrier, "usage", price.rounding].cost += cost
            mine = by_kind[price, day]
            for kind, volume in mine.items():
                found.kinds[kind] += cost * volume / sum(mine.values())
        for day in _days(known) if price.base_fee else ():
            if _holds(price, day, zone) and many[day.year, day.month]:
                fee = many[day.year, day.month] * _fee(price.base_fee, day)
                found.charges[day, price.carrier, "base_fee", price.rounding].cost += fee
    return found


def _usage(
    price: Price, volumes: Mapping[tuple[date, str], int], sims: Mapping[tuple[int, int], int], zone: ZoneInfo
) -> Iterator[tuple[date, Decimal]]:
    """What each day adds to what its month has cost."""
    to_date: dict[tuple[int, int, str], int] = defaultdict(int)
    for month in sorted({(day.year, day.month) for day, _ in volumes}):
        length = monthrange(*month)[1]
        under = sum(_holds(price, date(*month, n), zone) for n in range(1, length + 1))
        included = price.allowance * sims[month] * under // (length * price.step)
        billed = 0
        for day in sorted({day for day, _ in volumes if (day.year, day.month) == month}):
            before = max(0, billed - included)
            for (on, sim), volume in volumes.items():
                if on == day and price.rounding == "sim_day":
                    billed += price.steps(volume)
                elif on == day:
                    was = to_date[*month, sim]
                    to_date[*month, sim] = was + volume
                    billed += price.steps(was + volume) - price.steps(was)
            yield day, (max(0, billed - included) - before) * price.price


def _fee(fee: Decimal, day: date) -> Decimal:
    """The day's part of a month's fee, so that the days add up to it."""
    days = monthrange(day.year, day.month)[1]
    with localcontext(prec=60):
        upto, before = (
            (fee * n / days).quantize(_BILLIONTH, ROUND_FLOOR) if n < days else fee for n in (day.day, day.day - 1)
        )
        return upto - before


def _holds(price: Price, day: date, zone: ZoneInfo) -> bool:
    at_ms = int(datetime.combine(day, time(0), zone).timestamp() * 1000)
    return price.from_ms <= at_ms < price.until_ms


def _days(known: tuple[date, date]) -> Iterator[date]:
    day = known[0]
    while day <= known[1]:
        yield day
        day += DAY


def _months(known: tuple[date, date]) -> set[tuple[int, int]]:
    return {(day.year, day.month) for day in _days(known)}
