"""Traffic of the past as stored tallies have it, and what it would have been under a change. Pure; no raw data."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from math import ceil

from fleetgauge.errors import Terminal

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
    further: Sizes = field(default_factory=dict)
    """Part of `sizes`: of tries beyond each command's first."""
    stream: str = "commands"
    """`commands` or `telemetry`."""
    origin: str = ""
    """The carrier that its SIMs were of, where a change moved them; empty: still are."""


@dataclass(frozen=True)
class Change:
    """One change. `apply` gives a day's traffic as it would have been; `assumes` what that takes for granted."""

    said: str
    apply: Callable[[Usage], Iterable[Usage]]
    subjects: frozenset[str] = frozenset()
    """What it is about; empty: everything."""
    assumes: tuple[str, ...] = ()


def payload(subject: str, direction: str | None, limit: int | None, factor: Fraction | None) -> Change:
    """Payloads of at most `limit` bytes, or times `factor`, in one direction or both."""

    def smaller(size: int) -> int:
        size = size if limit is None else min(size, limit)
        return size if factor is None else ceil(size * factor)

    def apply(one: Usage) -> Iterable[Usage]:
        if direction in (None, one.direction):
            one = replace(one, sizes=_resized(one.sizes, smaller), further=_resized(one.further, smaller))
        yield one

    what = f"at most {limit:,} bytes" if factor is None else f"{percent(factor)} of their bytes"
    of = subject if direction is None else f"{subject}, {direction}"
    return Change(f"payloads of {of}: {what}", apply, frozenset({subject}), ("as many messages as before",))


def rate(subject: str, factor: Fraction) -> Change:
    """`factor` times as many messages: a longer reporting interval, a command sent less often."""

    def apply(one: Usage) -> Iterable[Usage]:
        yield _scaled(one, factor)

    assumes = ("acks, answers and retries change in step", "sizes as before")
    return Change(f"{subject}: {percent(factor)} of its messages", apply, frozenset({subject}), assumes)


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
        sizes = {size: share * count / together for size, share in sums.items()}
        part = sum(one.further.values()) / count
        yield replace(one, sizes=sizes, further={size: n * part for size, n in sizes.items()})

    assumes = ("payloads add up, without compression", "sizes in a batch are independent", "every batch is full")
    return Change(f"{subject}: {together} messages in one", apply, frozenset({subject}), assumes)


def retries(subject: str, factor: Fraction) -> Change:
    """`factor` times as many further tries of a command, with their acks and answers."""

    def apply(one: Usage) -> Iterable[Usage]:
        sizes = {size: count - one.further.get(size, Fraction(0)) * (1 - factor) for size, count in one.sizes.items()}
        yield replace(one, sizes=sizes, further={size: count * factor for size, count in one.further.items()})

    said = f"{subject}: {percent(factor)} of its further tries"
    assumes = (
        "a command that only a further try saved fails, and nobody asks for it again",
        "with a further try goes what answered it",
    )
    return Change(said, apply, frozenset({subject}), assumes)


def split(shares: Mapping[str, Fraction]) -> Change:
    """All traffic of these carriers spread over them. Raises `Terminal` unless the shares add up to 1."""
    if sum(shares.values()) != 1:
        raise Terminal(f"the shares of a carrier split add up to {percent(sum(shares.values()))}; make it 100 %")

    def apply(one: Usage) -> Iterable[Usage]:
        if one.carrier not in shares:
            yield one
            return
        yield replace(one, sizes={}, further={})  # what has no size stays where it is
        for carrier, share in shares.items():
            yield replace(_scaled(one, share), carrier=carrier, unsized=0, origin=one.origin or one.carrier)

    said = ", ".join(f"{carrier} {percent(share)}" for carrier, share in shares.items())
    assumes = ("SIMs of every carrier behave alike", "moving SIMs costs nothing")
    return Change(f"carriers: {said}", apply, assumes=assumes)


def _scaled(one: Usage, factor: Fraction) -> Usage:
    return replace(
        one,
        sizes={size: count * factor for size, count in one.sizes.items()},
        further={size: count * factor for size, count in one.further.items()},
    )


def _resized(sizes: Sizes, to: Callable[[int], int]) -> dict[int, Fraction]:
    found: dict[int, Fraction] = defaultdict(Fraction)
    for size, count in sizes.items():
        found[to(size)] += count
    return found


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


def percent(factor: Fraction | int) -> str:
    return f"{float(100 * factor):g} %"
