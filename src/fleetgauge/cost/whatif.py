"""What a change of the traffic, or of its prices, would save in a year: from stored tallies, without raw data. Pure.

Traffic of the past, day by day, is priced as it was and as it would have been, both at the same instant's prices; the
difference is carried to a year. Only traffic that is rounded by message can be told so from sizes; the rest is counted.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import ceil

from fleetgauge.cost.charges import billed_steps, tariff_at
from fleetgauge.cost.tariff import Tariff
from fleetgauge.errors import Terminal

YEAR = 365
WEEK = 7
FINEST = 200
"""So many different sizes are combined when messages are batched; more are put together by their quantiles."""

Sizes = Mapping[int, Fraction]
"""Messages by payload in bytes; of what would be, not always whole."""


@dataclass(frozen=True)
class Usage:
    """A local day's messages of one subject (a command type or an event kind), carrier and direction."""

    date: date
    subject: str
    carrier: str
    direction: str
    sizes: Sizes
    unsized: int = 0
    """Messages that do not say their size; they have no price."""
    retries: int = 0
    """Tries beyond each command's first; part of the downlink."""


@dataclass(frozen=True)
class Change:
    """One change. `apply` gives a day's traffic as it would have been; `assumes` what that takes for granted."""

    said: str
    apply: Callable[[Usage], Iterable[Usage]]
    subjects: frozenset[str] = frozenset()
    """What it is about; empty: everything."""
    assumes: tuple[str, ...] = ()


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
    """Under a tariff that rounds by SIM: left out."""
    assumptions: tuple[str, ...]


def payload(subject: str, direction: str | None, limit: int | None, factor: Fraction | None) -> Change:
    """Payloads of at most `limit` bytes, or times `factor`, in one direction or both."""

    def smaller(size: int) -> int:
        size = size if limit is None else min(size, limit)
        return size if factor is None else ceil(size * factor)

    def apply(one: Usage) -> Iterable[Usage]:
        if direction in (None, one.direction):
            sizes: dict[int, Fraction] = defaultdict(Fraction)
            for size, count in one.sizes.items():
                sizes[smaller(size)] += count
            one = replace(one, sizes=sizes)
        yield one

    what = f"at most {limit:,} bytes" if factor is None else f"{_percent(factor)} of their bytes"
    of = subject if direction is None else f"{subject}, {direction}"
    return Change(f"payloads of {of}: {what}", apply, frozenset({subject}), ("as many messages as before",))


def rate(subject: str, factor: Fraction) -> Change:
    """`factor` times as many messages: a longer reporting interval, a command sent less often."""

    def apply(one: Usage) -> Iterable[Usage]:
        yield _scaled(one, factor)

    assumes = ("acks, answers and retries change in step", "sizes as before")
    return Change(f"{subject}: {_percent(factor)} of its messages", apply, frozenset({subject}), assumes)


def batch(subject: str, together: int) -> Change:
    """`together` messages are sent as one, whose payload is the sum of theirs."""

    def apply(one: Usage) -> Iterable[Usage]:
        count = sum(one.sizes.values())
        if not count:
            yield one
            return
        once = _quantiles({size: n / count for size, n in one.sizes.items()})
        sums = once
        for _ in range(together - 1):
            found: dict[int, Fraction] = defaultdict(Fraction)
            for size, share in sums.items():
                for more, other in once.items():
                    found[size + more] += share * other
            sums = _quantiles(found)
        yield replace(one, sizes={size: share * count / together for size, share in sums.items()})

    assumes = ("payloads add up, without compression", "sizes in a batch are independent", "every batch is full")
    return Change(f"{subject}: {together} messages in one", apply, frozenset({subject}), assumes)


def retries(subject: str, factor: Fraction) -> Change:
    """`factor` times as many further tries of a command."""

    def apply(one: Usage) -> Iterable[Usage]:
        count = sum(one.sizes.values())
        if one.direction != "downlink" or not count:
            yield one
            return
        yield _scaled(one, 1 - min(Fraction(1), one.retries / count) * (1 - factor))

    said = f"{subject}: {_percent(factor)} of its further tries"
    assumes = ("a further try saves what is sent to the device; late acks and answers stay, so it saves rather more",)
    return Change(said, apply, frozenset({subject}), assumes)


def split(shares: Mapping[str, Fraction]) -> Change:
    """All traffic of these carriers spread over them. Raises `Terminal` unless the shares add up to 1."""
    if sum(shares.values()) != 1:
        raise Terminal(f"the shares of a carrier split add up to {_percent(sum(shares.values()))}; make it 100 %")

    def apply(one: Usage) -> Iterable[Usage]:
        if one.carrier not in shares:
            yield one
            return
        yield replace(one, sizes={}, retries=0)  # what has no size stays where it is
        for carrier, share in shares.items():
            yield replace(_scaled(one, share), carrier=carrier, unsized=0)

    said = ", ".join(f"{carrier} {_percent(share)}" for carrier, share in shares.items())
    assumes = ("SIMs of every carrier behave alike", "moving SIMs costs nothing")
    return Change(f"carriers: {said}", apply, assumes=assumes)


def estimate(
    usage: Sequence[Usage],
    tariffs: Sequence[Tariff],
    at: datetime,
    changes: Sequence[Change],
    new_tariffs: Sequence[Tariff] | None = None,
) -> Estimate:
    """What `changes`, one after another, and `new_tariffs` would save, at the prices that are in force at `at` (aware).

    Raises `Terminal` without traffic or tariffs, for a subject that has no traffic, and for a new tariff by SIM.
    """
    if not usage or not tariffs:
        raise Terminal("there is no traffic or no tariff, so there is nothing to save; see metrics.traffic_usage_day")
    known = {one.subject for one in usage}
    for change in changes:
        if missing := sorted(change.subjects - known):
            raise Terminal(f"there is no traffic of {missing[0]} (there is of {', '.join(sorted(known))})")
    if any(one.by_sim for one in new_tariffs or ()):
        raise Terminal("a tariff by SIM cannot be told from sizes; apply it with fleetgauge tariffs restate --dry-run")
    after = list(usage)
    for change in changes:
        after = [
            new
            for one in after
            for new in (change.apply(one) if not change.subjects or one.subject in change.subjects else [one])
        ]
    days = sorted({one.date for one in usage})
    then, unpriced, by_sim = _costs(usage, tariffs, at)
    now, _, _ = _costs(after, tariffs if new_tariffs is None else new_tariffs, at)
    saved = {day: then[day] - now[day] for day in days}
    whole = _weeks(days)
    periods = whole if len(whole) > 1 else [[day] for day in days]
    varied_by = "week" if len(whole) > 1 else "day"
    return Estimate(
        tariffs[0].currency,
        days[0],
        days[-1],
        _money(sum(then.values(), Fraction(0))),
        _money(sum(now[day] for day in days)),
        _year(then, days, periods),
        _year(saved, days, periods),
        varied_by,
        sum(ceil(sum(one.sizes.values())) + one.unsized for one in usage),
        unpriced,
        by_sim,
        (
            f"the year is like {days[0]} to {days[-1]}: {len(days)} days, carried to {YEAR}",
            f"the range is that of its {varied_by}s, each taken for the whole year",
            f"prices as of {at:%Y-%m-%d}, messages without a price left out",
            *dict.fromkeys(said for change in changes for said in change.assumes),
        ),
    )


def _costs(usage: Sequence[Usage], tariffs: Sequence[Tariff], at: datetime) -> tuple[dict[date, Fraction], int, int]:
    """By day what is priced; messages without a price, and those that are charged by SIM."""
    costs: dict[date, Fraction] = defaultdict(Fraction)
    unpriced = by_sim = Fraction(0)
    in_force = {carrier: tariff_at(tariffs, carrier, at) for carrier in {one.carrier for one in usage}}
    for one in usage:
        tariff, count = in_force[one.carrier], sum(one.sizes.values(), Fraction(0))
        if tariff is None:
            unpriced += count + one.unsized
        elif tariff.rounding != "message":
            by_sim += count + one.unsized
        else:
            unpriced += one.unsized
            steps = sum((n * billed_steps(size, tariff) for size, n in one.sizes.items()), Fraction(0))
            costs[one.date] += steps * Fraction(tariff.price)
    return costs, ceil(unpriced), ceil(by_sim)


def _year(costs: Mapping[date, Fraction], days: Sequence[date], periods: Sequence[Sequence[date]]) -> Amounts:
    each = [sum((costs[day] for day in period), Fraction(0)) / len(period) for period in periods]
    mean = sum((costs[day] for day in days), Fraction(0)) / len(days)
    return Amounts(*(_money(YEAR * amount) for amount in (mean, min(each), max(each))))


def _weeks(days: Sequence[date]) -> list[list[date]]:
    """The weeks from Monday to Sunday of which every day is known."""
    known = set(days)
    mondays = [day for day in days if day.weekday() == 0]
    weeks = [[monday + timedelta(days=n) for n in range(WEEK)] for monday in mondays]
    return [week for week in weeks if known.issuperset(week)]


def _scaled(one: Usage, factor: Fraction) -> Usage:
    return replace(one, sizes={size: count * factor for size, count in one.sizes.items()})


def _quantiles(shares: Mapping[int, Fraction]) -> dict[int, Fraction]:
    """The same distribution with at most `FINEST` sizes: neighbours become their mean, rounded."""
    if len(shares) <= FINEST:
        return dict(shares)
    found: dict[int, Fraction] = defaultdict(Fraction)
    total, weight, mass = sum(shares.values(), Fraction(0)), Fraction(0), Fraction(0)
    for size, share in sorted(shares.items()):
        weight += share
        mass += share * size
        if weight >= total / FINEST:
            found[round(mass / weight)] += weight
            weight = mass = Fraction(0)
    if weight:
        found[round(mass / weight)] += weight
    return found


def _money(amount: Fraction | int) -> Decimal:
    """To a hundredth: an estimate is no bill."""
    exact = Fraction(amount)
    return (Decimal(exact.numerator) / exact.denominator).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _percent(factor: Fraction | int) -> str:
    return f"{float(100 * factor):g} %"
