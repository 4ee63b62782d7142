"""What traffic costs, exactly: the twin of the cost views of `sql/metrics`.

Written from the definitions in docs/cost.md, month by month and without a running sum; a test holds the two equal. For
questions over another tariff, too. Everything here is pure.
"""

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from typing import TypeVar
from zoneinfo import ZoneInfo

from fleetgauge.cost.tariff import Tariff

DAY = timedelta(days=1)

K = TypeVar("K")


@dataclass(frozen=True)
class Messages:
    """`count` messages of `payload_bytes` each (None: of unknown size), in the window from `window_start` (UTC) on."""

    window_start: datetime
    carrier: str
    payload_bytes: int | None
    count: int


@dataclass(frozen=True)
class SimDay:
    """What a SIM sent and received in a local day, by one price."""

    date: date
    sim: str
    carrier: str
    messages: int
    bytes: int
    """Payload of the messages that say it."""
    unsized: int = 0
    """Messages that do not."""


@dataclass(frozen=True)
class Cost:
    """A sum over messages. `amount` (in the tariffs' currency) and `billed_bytes` are of those that have a price."""

    messages: int
    billed_bytes: int
    amount: Decimal
    unpriced_messages: int
    """Messages of unknown size, or whose carrier has no tariff at their time: they cost more than nothing."""


@dataclass(frozen=True)
class DayCharge:
    """What a local day costs by one tariff that charges by SIM: its usage, and its part of the base fees."""

    date: date
    tariff: Tariff
    messages: int
    unpriced_messages: int
    billed_bytes: int
    usage: Decimal
    base_fee: Decimal
    sims: int
    """SIMs of the month: those under contract, else those with traffic in it."""


def billed_steps(payload_bytes: int, tariff: Tariff) -> int:
    """Steps that one message is billed as."""
    return _steps(payload_bytes + tariff.overhead_bytes, tariff.step_bytes)


def tariff_at(tariffs: Iterable[Tariff], carrier: str, instant: datetime) -> Tariff | None:
    """The entry in force at `instant` (aware), or None; `carrier` as the metrics say it."""
    for tariff in tariffs:
        if (
            tariff.label == carrier
            and tariff.valid_from <= instant
            and (tariff.valid_to is None or instant < tariff.valid_to)
        ):
            return tariff
    return None


def cost(messages: Iterable[Messages], tariffs: Iterable[Tariff]) -> Cost:
    """Total cost of `messages` under `tariffs` that round by message, each priced at its window's start."""
    known = tuple(tariffs)
    total = billed = unpriced = 0
    amount = Decimal(0)
    for group in messages:
        total += group.count
        tariff = tariff_at(known, group.carrier, group.window_start)
        if tariff is None or group.payload_bytes is None:
            unpriced += group.count
            continue
        steps = group.count * billed_steps(group.payload_bytes, tariff)
        billed += steps * tariff.step_bytes
        amount += steps * tariff.price
    return Cost(total, billed, amount, unpriced)


def sim_charges(
    usage: Iterable[SimDay], tariffs: Iterable[Tariff], zone: ZoneInfo, known: tuple[date, date]
) -> list[DayCharge]:
    """What the days of `known` (the first and the last) cost by tariffs that charge by SIM; those with a charge only.

    Traffic under a tariff that rounds by message is no charge here, but its SIMs bear base fees.
    """
    rows = sorted(usage, key=lambda row: row.date)
    found: list[DayCharge] = []
    for tariff in tariffs:
        if tariff.by_sim:
            for _, days in groupby(_days(tariff, zone, known), key=lambda day: (day.year, day.month)):
                found += _month(tariff, list(days), rows, zone)
    return found


def shared_out(steps: int, volumes: Mapping[K, int]) -> dict[K, int]:
    """Whole steps in proportion to volumes: each part rounded down, what is left to the largest remainders.

    The parts add up to `steps`. Of equal remainders the first in the order of `volumes` comes first. Raises
    `ZeroDivisionError` if there is nothing to bear them.
    """
    whole = sum(volumes.values())
    parts = {key: steps * volume // whole for key, volume in volumes.items()}
    by_rest = sorted(volumes, key=lambda key: -(steps * volumes[key] % whole))
    for key in by_rest[: steps - sum(parts.values())]:
        parts[key] += 1
    return parts


def base_fee_of(tariff: Tariff, day: date) -> Decimal:
    """The part of a SIM's monthly fee that a day bears: whole billionths; the days of a month add up to the fee."""
    days, nano = monthrange(day.year, day.month)[1], int(tariff.base_fee * 10**9)
    return Decimal(nano * day.day // days - nano * (day.day - 1) // days).scaleb(-9)


def _month(tariff: Tariff, known: Sequence[date], rows: Sequence[SimDay], zone: ZoneInfo) -> Iterator[DayCharge]:
    """The days of a month that are known and under this tariff."""
    first = known[0].replace(day=1)
    length = monthrange(first.year, first.month)[1]
    month = [row for row in rows if first <= row.date < first + length * DAY and row.carrier == tariff.label]
    sims = len({row.sim for row in month}) if tariff.sims is None else tariff.sims
    under = len(list(_days(tariff, zone, (first, first + (length - 1) * DAY))))
    pool = tariff.allowance_bytes * sims * under // (length * tariff.step_bytes)
    mine = [row for row in month if known[0] <= row.date <= known[-1]] if tariff.rounding != "message" else []
    for day in known:
        today = [row for row in mine if row.date == day]
        steps = _steps_until(tariff, mine, day, pool) - _steps_until(tariff, mine, day - DAY, pool)
        fee = sims * base_fee_of(tariff, day)
        if today or fee:
            messages, unsized = sum(row.messages for row in today), sum(row.unsized for row in today)
            billed = steps * tariff.step_bytes
            yield DayCharge(day, tariff, messages, unsized, billed, steps * tariff.price, fee, sims)


def _steps_until(tariff: Tariff, rows: Sequence[SimDay], last: date, pool: int) -> int:
    """Steps that are billed of the month's traffic until the end of a day: the cost to date, in steps."""
    by_sim: dict[tuple[object, ...], int] = defaultdict(int)
    for row in rows:
        if row.date <= last:
            key = (row.sim, row.date) if tariff.rounding == "sim_day" else (row.sim,)
            by_sim[key] += row.bytes + (row.messages - row.unsized) * tariff.overhead_bytes
    return max(0, sum(_steps(size, tariff.step_bytes) for size in by_sim.values()) - pool)


def _days(tariff: Tariff, zone: ZoneInfo, among: tuple[date, date]) -> Iterator[date]:
    """The local days of `among` (first and last) on which the tariff holds."""
    day, last = among
    while day <= last:
        begin = datetime.combine(day, time(0), zone)
        if tariff.valid_from <= begin and (tariff.valid_to is None or begin < tariff.valid_to):
            yield day
        day += DAY


def _steps(size: int, step: int) -> int:
    return -(-size // step)
