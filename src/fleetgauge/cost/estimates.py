"""What a change of the traffic, or of its prices, would save in a year: from stored counts, without raw data. Pure.

Traffic of the past is priced as it was and as it would have been, both at the same instant's prices; the difference is
carried to a year. Each message that is rounded alone is priced by its size. What is rounded by SIM is priced SIM by
SIM: what a SIM used of telemetry and of commands changes as its carrier's telemetry and commands change.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import ceil
from typing import TypeAlias

from fleetgauge.cost.charges import billed_steps, tariff_at
from fleetgauge.cost.tariff import Tariff
from fleetgauge.cost.whatif import Change, Usage
from fleetgauge.errors import Terminal

YEAR = 365
WEEK = 7
MONTH = Fraction(YEAR, 12)
"""Days of a mean month."""
_Totals: TypeAlias = dict[tuple[date, str, str], tuple[Fraction, Fraction]]


@dataclass(frozen=True)
class SimStream:
    """What a SIM used on a local day of one stream; messages and payload that say their size."""

    date: date
    sim: str
    carrier: str
    stream: str
    messages: int
    bytes: int


@dataclass(frozen=True)
class Amounts:
    """Sums of money in a year: the expected one, and the range that the past's weeks (or days) span."""

    expected: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True)
class Estimate:
    """What a change would save."""

    currency: str
    first: date
    last: date
    before: Decimal
    """Cost of the days from `first` to `last` as they were, and as they would have been."""
    after: Decimal
    year_before: Amounts
    saving: Amounts
    """In a year."""
    varied_by: str
    """`week` or `day`: what the range is the spread of."""
    messages: int
    """Of these days, all of them."""
    unpriced_messages: int
    by_sim_messages: int
    """Under a tariff that charges by SIM, of which nothing is known by SIM: left out."""
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class _SimRow:
    """A SIM's day under a tariff: so many bytes with overhead, and how much of the SIM is with this carrier."""

    date: date
    sim: tuple[str, str]
    weight: Fraction
    volume: int


@dataclass
class _Priced:
    """What the traffic costs by one set of tariffs."""

    by_day: dict[date, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    """Of messages, and of what is rounded by SIM and day."""
    by_month: list[tuple[Tariff, list[_SimRow]]] = field(default_factory=list)
    """What belongs to a month: usage that is rounded so, and base fees."""
    unpriced: Fraction = Fraction(0)
    by_sim: Fraction = Fraction(0)

    def a_day(self, days: Sequence[date]) -> Fraction:
        """The mean cost of a day, if all days were like these."""
        cost = sum((self.by_day.get(day, Fraction(0)) for day in days), Fraction(0)) / len(days)
        return cost + sum((_monthly(tariff, rows, days) for tariff, rows in self.by_month), Fraction(0))


def estimate(
    usage: Sequence[Usage],
    tariffs: Sequence[Tariff],
    at: datetime,
    changes: Sequence[Change],
    new_tariffs: Sequence[Tariff] | None = None,
    sims: Sequence[SimStream] = (),
) -> Estimate:
    """What `changes`, one after another, and `new_tariffs` would save, at the prices that are in force at `at` (aware).

    `sims`: the same traffic by SIM, which only tariffs that charge by SIM need. Raises `Terminal` without traffic or
    tariffs, and for a subject that has no traffic.
    """
    if not usage or not tariffs:
        raise Terminal("there is no traffic or no tariff, so there is nothing to save; see metrics.traffic_usage_day")
    known = {one.subject for one in usage}
    for change in changes:
        if missing := sorted(change.subjects - known):
            raise Terminal(f"there is no traffic of {missing[0]} (there is of {', '.join(sorted(known))})")
    after = list(usage)
    for change in changes:
        after = [
            new
            for one in after
            for new in (change.apply(one) if not change.subjects or one.subject in change.subjects else [one])
        ]
    days = sorted({one.date for one in usage})
    then = _priced(usage, usage, sims, tariffs, at)
    now = _priced(usage, after, sims, tariffs if new_tariffs is None else new_tariffs, at)
    whole = _weeks(days)
    periods = whole if len(whole) > 1 else [[day] for day in days]
    varied_by = "week" if len(whole) > 1 else "day"
    # Of whole weeks, or of whole months, for a day's traffic depends on the weekday.
    like = days if len(whole) < 2 or _months(days) else [day for week in whole for day in week]
    by_month = any(tariff.rounding == "sim_month" for side in (then, now) for tariff, _ in side.by_month)
    months = "months as they were" if _months(days) else "a SIM's month is like these days, carried to 30.4"
    return Estimate(
        tariffs[0].currency,
        days[0],
        days[-1],
        _money(then.a_day(days) * len(days)),
        _money(now.a_day(days) * len(days)),
        _year(then.a_day, like, periods),
        _year(lambda some: then.a_day(some) - now.a_day(some), like, periods),
        varied_by,
        sum(ceil(sum(one.sizes.values())) + one.unsized for one in usage),
        ceil(then.unpriced),
        ceil(max(then.by_sim, now.by_sim)),
        (
            f"the year is like {like[0]} to {like[-1]}: {len(like)} days, carried to {YEAR}",
            f"the range is that of its {varied_by}s, each taken for the whole year",
            f"prices as of {at:%Y-%m-%d}, messages without a price left out",
            *((f"what is rounded by month: {months}",) if by_month else ()),
            *(
                ("each SIM of a carrier changes as the carrier's traffic does",)
                if then.by_month or now.by_month
                else ()
            ),
            *dict.fromkeys(said for change in changes for said in change.assumes),
        ),
    )


def _priced(
    before: Sequence[Usage], usage: Sequence[Usage], sims: Sequence[SimStream], tariffs: Sequence[Tariff], at: datetime
) -> _Priced:
    """What `usage`, which was `before`, costs at `at`."""
    found = _Priced()
    in_force = {carrier: tariff_at(tariffs, carrier, at) for carrier in {one.carrier for one in usage}}
    for one in usage:
        tariff, count = in_force[one.carrier], _messages(one)
        if tariff is None:
            found.unpriced += count + one.unsized
        elif tariff.rounding == "message":
            found.unpriced += one.unsized
            steps = _sum((n, billed_steps(size, tariff)) for size, n in one.sizes.items())
            found.by_day[one.date] += steps * Fraction(tariff.price)
        elif not sims:
            found.by_sim += count + one.unsized
    by_sim = {carrier: one for carrier, one in in_force.items() if one is not None and one.by_sim}
    if not sims or not by_sim:
        return found
    was, now, moved = _totals(before), _totals(usage), _moved(usage)
    for carrier, tariff in by_sim.items():
        rows = _sim_rows(was, now, moved, sims, carrier, tariff)
        if tariff.rounding == "sim_day":
            for row in rows:
                found.by_day[row.date] += row.weight * -(-row.volume // tariff.step_bytes) * Fraction(tariff.price)
        if tariff.rounding == "sim_month" or tariff.base_fee:
            found.by_month.append((tariff, rows))
    return found


def _sim_rows(
    was: _Totals,
    now: _Totals,
    moved: Mapping[str, Mapping[str, Fraction]],
    sims: Sequence[SimStream],
    carrier: str,
    tariff: Tariff,
) -> list[_SimRow]:
    """The days of the SIMs that are with a carrier, as their traffic would have been."""
    volumes: dict[tuple[date, str, str], int] = defaultdict(int)
    for use in sims:
        key = use.date, use.carrier, use.stream
        if carrier in moved.get(use.carrier, {}) and was.get(key, (0, 0))[0]:
            (messages, size), (messages_now, size_now) = was[key], now.get(key, (Fraction(0), Fraction(0)))
            volume = use.messages * tariff.overhead_bytes * messages_now / messages
            volume += use.bytes * size_now / size if size else 0
            volumes[use.date, use.carrier, use.sim] += round(volume)
    shares = {
        origin: parts[carrier] / whole
        for origin, parts in moved.items()
        if carrier in parts and (whole := sum(parts.values(), Fraction(0)))
    }
    rows = ((day, (origin, sim), shares.get(origin, Fraction(0)), n) for (day, origin, sim), n in volumes.items())
    return [_SimRow(*row) for row in rows if row[2]]


def _moved(usage: Sequence[Usage]) -> dict[str, dict[str, Fraction]]:
    """Messages by the carrier that the SIMs were of and the one that they would be of."""
    found: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for one in usage:
        found[one.origin or one.carrier][one.carrier] += _messages(one)
    return found


def _totals(usage: Sequence[Usage]) -> _Totals:
    """Messages and payload by day, the carrier that the SIMs were of, and stream."""
    found: _Totals = {}
    for one in usage:
        key = one.date, one.origin or one.carrier, one.stream
        messages, size = found.get(key, (Fraction(0), Fraction(0)))
        found[key] = messages + _messages(one), size + _sum((n, of) for of, n in one.sizes.items())
    return found


def _messages(one: Usage) -> Fraction:
    """Those that say their size."""
    return _sum((n, 1) for n in one.sizes.values())


def _sum(parts: Iterable[tuple[Fraction, int]]) -> Fraction:
    """Of amounts, each times a whole number; exact. Counts share few denominators, and whole numbers add up far
    quicker than fractions.
    """
    numerators: dict[int, int] = defaultdict(int)
    for amount, times in parts:
        numerators[amount.denominator] += amount.numerator * times
    return sum((Fraction(numerator, denominator) for denominator, numerator in numerators.items()), Fraction(0))


def _monthly(tariff: Tariff, rows: Sequence[_SimRow], days: Sequence[date]) -> Fraction:
    """What a day costs of what belongs to a month: of whole months theirs, else of a month of days like these."""
    months = _months(days)
    if months:
        return sum((_month(tariff, rows, month, Fraction(len(month))) for month in months), Fraction(0)) / len(days)
    return _month(tariff, rows, days, MONTH) / MONTH


def _month(tariff: Tariff, rows: Sequence[_SimRow], days: Sequence[date], length: Fraction) -> Fraction:
    """A month's cost, of the usage of `days` carried to its `length` in days."""
    wanted, used = frozenset(days), defaultdict[tuple[str, str], int](int)
    weights = {row.sim: row.weight for row in rows}
    for row in rows:
        if row.date in wanted:
            used[row.sim] += row.volume
    # A SIM that was silent on a day or in a week is in use all the same.
    sims = sum(weights[sim] for sim in (used if _months(days) else weights)) if tariff.sims is None else tariff.sims
    cost = sims * Fraction(tariff.base_fee)
    if tariff.rounding == "sim_month":
        carried = length / len(days)
        steps = sum(
            (weights[sim] * ceil(volume * carried / tariff.step_bytes) for sim, volume in used.items()), Fraction(0)
        )
        pool = Fraction(tariff.allowance_bytes) * sims // tariff.step_bytes
        cost += max(Fraction(0), steps - pool) * Fraction(tariff.price)
    return cost


def _months(days: Sequence[date]) -> list[list[date]]:
    """The days by calendar month, if they are whole months; else nothing."""
    by_month: dict[tuple[int, int], list[date]] = defaultdict(list)
    for day in days:
        by_month[day.year, day.month].append(day)
    whole = all(
        some[0].day == 1 and (some[-1] + timedelta(days=1)).day == 1 and len(some) == some[-1].day
        for some in by_month.values()
    )
    return list(by_month.values()) if whole else []


def _year(
    a_day: Callable[[Sequence[date]], Fraction], days: Sequence[date], periods: Sequence[Sequence[date]]
) -> Amounts:
    each = [a_day(period) for period in periods]
    return Amounts(*(_money(YEAR * amount) for amount in (a_day(days), min(each), max(each))))


def _weeks(days: Sequence[date]) -> list[list[date]]:
    """The weeks from Monday to Sunday of which every day is known."""
    known = set(days)
    mondays = [day for day in days if day.weekday() == 0]
    weeks = [[monday + timedelta(days=n) for n in range(WEEK)] for monday in mondays]
    return [week for week in weeks if known.issuperset(week)]


def _money(amount: Fraction | int) -> Decimal:
    """To a hundredth: an estimate is no bill."""
    exact = Fraction(amount)
    return (Decimal(exact.numerator) / exact.denominator).quantize(Decimal("0.01"), ROUND_HALF_UP)
