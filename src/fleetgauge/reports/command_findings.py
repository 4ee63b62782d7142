"""Which commands cost most, which way that goes, and where they fail more than elsewhere. Pure functions on facts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from fleetgauge.reports.command_facts import CommandCell, CostCell, CostPoint, KindCost, RatePoint
from fleetgauge.reports.proportions import tail, wilson, z_of
from fleetgauge.rollup.labels import EVERY, NOT_SET

LEVEL = 0.95
SHOWN = 12

Key = tuple[str, str, str, str]
"""Command type, carrier, firmware, vehicle model."""


@dataclass(frozen=True)
class CommandCost:
    """What one type of command costs over one carrier; the same sums as on the dashboards."""

    command_type: str
    carrier: str
    cost: float
    share: float
    """Of the whole cost."""
    cost_before: float | None
    """In the period before; None if that is not known in whole."""
    change: float | None
    """Of the cost against the period before: 0.1 is a tenth more. None without such a period, or without cost there."""
    messages: int
    bytes: int
    billed_bytes: int
    unpriced: int


@dataclass(frozen=True)
class CellCost:
    """The cost of a type and carrier, attributed to firmware and model by their shares of the attempts."""

    command_type: str
    carrier: str
    firmware: str
    vehicle_model: str
    cost: float
    share: float
    cost_before: float | None
    change: float | None
    requested: int
    unsuccessful: int
    rate: float | None
    low: float
    high: float
    """Wilson's 95 % interval of the failure rate, of this cell alone."""


@dataclass(frozen=True)
class HotSpot:
    """A kind of command and vehicle whose failure rate is surely above that of the same command type elsewhere.

    Carrier, firmware and model are `*` where all of them are meant.
    """

    command_type: str
    carrier: str
    firmware: str
    vehicle_model: str
    requested: int
    unsuccessful: int
    rate: float
    low: float
    """Lower and upper end of Wilson's interval, so wide that those of *all* kinds hold together with 95 %."""
    high: float
    elsewhere: float
    """The failure rate of the same command type on all other vehicles."""
    excess: float
    """So many more failed than if it were as elsewhere."""


@dataclass(frozen=True)
class AirShare:
    """What one kind of message costs, among everything that goes over the air."""

    stream: str
    kind: str
    cost: float
    share: float
    """Of the cost of everything."""
    messages: int
    bytes: int
    unpriced: int
    by_sim: int


@dataclass(frozen=True)
class TypeRate:
    """How often one type of command fails."""

    command_type: str
    requested: int
    unsuccessful: int
    rate: float
    low: float
    high: float
    rate_before: float | None


@dataclass(frozen=True)
class CommandReport:
    """Everything about commands."""

    requested: int
    unsuccessful: int
    open: int
    rate: float | None
    rate_before: float | None
    cost: float
    cost_before: float | None
    change: float | None
    messages: int
    unpriced: int
    by_sim: int
    costliest: tuple[CommandCost, ...]
    """By type and carrier, all of them, the costliest first."""
    cells: tuple[CellCost, ...]
    """By firmware and model as well, the costliest first."""
    cells_in_all: int
    rates: tuple[TypeRate, ...]
    """The worst first."""
    hot_spots: tuple[HotSpot, ...]
    hot_spots_in_all: int
    compared: int
    """So many kinds were looked at for hot spots."""
    cost_points: tuple[CostPoint, ...]
    rate_points: tuple[RatePoint, ...]
    air: tuple[AirShare, ...]
    """Telemetry and commands, the dearest kind first."""
    air_cost: float
    """Of all of them."""


def command_report(
    cells: Sequence[CommandCell],
    before: Sequence[CommandCell] | None,
    cost: Sequence[CostCell],
    cost_before: Sequence[CostCell] | None,
    cost_points: Iterable[CostPoint] = (),
    rate_points: Iterable[RatePoint] = (),
    kinds: Sequence[KindCost] = (),
) -> CommandReport:
    """The findings; `before` is None where the period before is not known in whole."""
    requested, unsuccessful = sum(one.requested for one in cells), sum(one.unsuccessful for one in cells)
    total = sum((one.cost for one in cost), Decimal())
    earlier = None if cost_before is None else sum((one.cost for one in cost_before), Decimal())
    by_cell = attributed(cells, cost)
    by_cell_before = None if before is None or cost_before is None else attributed(before, cost_before)
    ranked = _cells(cells, by_cell, by_cell_before, total)
    hot, compared = hot_spots(cells)
    everything = sum((one.cost for one in kinds), Decimal())
    return CommandReport(
        requested=requested,
        unsuccessful=unsuccessful,
        open=sum(one.open for one in cells),
        rate=_rate(unsuccessful, requested),
        rate_before=None if before is None else _rate(*_counts(before)),
        cost=float(total),
        cost_before=None if earlier is None else float(earlier),
        change=_change(total, earlier),
        messages=sum(one.messages for one in cost),
        unpriced=sum(one.unpriced for one in cost),
        by_sim=sum(one.by_sim for one in cost),
        costliest=_costliest(cost, cost_before, total),
        cells=ranked[:SHOWN],
        cells_in_all=len(ranked),
        rates=_rates(cells, before),
        hot_spots=hot[:SHOWN],
        hot_spots_in_all=len(hot),
        compared=compared,
        cost_points=tuple(cost_points),
        rate_points=tuple(rate_points),
        air=tuple(
            AirShare(
                one.stream,
                one.kind,
                float(one.cost),
                _share(one.cost, everything),
                one.messages,
                one.bytes,
                one.unpriced,
                one.by_sim,
            )
            for one in kinds
        ),
        air_cost=float(everything),
    )


def attributed(cells: Sequence[CommandCell], cost: Sequence[CostCell]) -> dict[Key, Decimal]:
    """Cost by cell: that of each type and carrier, parted by attempts. The parts add up to the whole.

    Messages are by their own time and commands by that of their request, so at an edge of the range there may be cost
    without a command: that is of an unknown firmware and model.
    """
    of_pair: dict[tuple[str, str], list[CommandCell]] = defaultdict(list)
    for one in cells:
        if one.attempts > 0:
            of_pair[one.command_type, one.carrier].append(one)
    found: dict[Key, Decimal] = {}
    for priced in cost:
        parts = of_pair.get((priced.command_type, priced.carrier), [])
        attempts = sum(one.attempts for one in parts)
        rest = priced.cost
        for one in parts[1:]:
            part = priced.cost * one.attempts / attempts
            found[_key(one)] = part
            rest -= part
        if parts:
            found[_key(parts[0])] = rest
        else:
            found[priced.command_type, priced.carrier, NOT_SET, NOT_SET] = rest
    return found


def hot_spots(cells: Sequence[CommandCell]) -> tuple[tuple[HotSpot, ...], int]:
    """Kinds that fail more than the same command elsewhere, the most failures too many first; and how many were seen.

    A kind is a command type with a carrier, firmware and model, or with one of these and all of the others (`EVERY`).
    The intervals are made so wide that, of all kinds together, one in twenty reports has one that is wrong: the more
    kinds, the more it takes, and one of few commands is never among them by luck.
    """
    kinds: dict[Key, list[int]] = defaultdict(lambda: [0, 0])
    for one in cells:
        for key in {_key(one), *_coarser(_key(one)), (one.command_type, EVERY, EVERY, EVERY)}:
            kinds[key][0] += one.unsuccessful
            kinds[key][1] += one.requested
    whole = {key[0]: kinds.pop(key) for key in [*kinds] if key[1:] == (EVERY, EVERY, EVERY)}
    seen = {key: counts for key, counts in kinds.items() if 0 < counts[1] < whole[key[0]][1]}
    z = z_of(LEVEL, len(seen))
    found = []
    for key, (bad, of) in seen.items():
        bad_elsewhere, of_elsewhere = whole[key[0]][0] - bad, whole[key[0]][1] - of
        low, high = wilson(bad, of, z)
        # the rate elsewhere is not known exactly either; and of few commands Wilson's interval is too narrow
        highest = wilson(bad_elsewhere, of_elsewhere, z_of(LEVEL))[1]
        if low > highest and tail(bad, of, highest) <= (1 - LEVEL) / 2 / len(seen):
            elsewhere = bad_elsewhere / of_elsewhere
            found.append(HotSpot(*key, of, bad, bad / of, low, high, elsewhere, bad - elsewhere * of))
    return tuple(sorted(found, key=lambda one: (-one.excess, one.command_type, one.firmware))), len(seen)


def _coarser(key: Key) -> list[Key]:
    kind, carrier, firmware, model = key
    return [(kind, carrier, EVERY, EVERY), (kind, EVERY, firmware, EVERY), (kind, EVERY, EVERY, model)]


def _costliest(cost: Sequence[CostCell], before: Sequence[CostCell] | None, total: Decimal) -> tuple[CommandCost, ...]:
    earlier = None if before is None else {(one.command_type, one.carrier): one.cost for one in before}
    found = []
    for one in cost:
        was = None if earlier is None else earlier.get((one.command_type, one.carrier), Decimal())
        found.append(
            CommandCost(
                one.command_type,
                one.carrier,
                float(one.cost),
                _share(one.cost, total),
                None if was is None else float(was),
                _change(one.cost, was),
                one.messages,
                one.bytes,
                one.billed_bytes,
                one.unpriced,
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.cost, one.command_type, one.carrier)))


def _cells(
    cells: Sequence[CommandCell], cost: dict[Key, Decimal], before: dict[Key, Decimal] | None, total: Decimal
) -> tuple[CellCost, ...]:
    outcomes = {_key(one): (one.requested, one.unsuccessful) for one in cells}
    found = []
    for key, krw in cost.items():
        requested, bad = outcomes.get(key, (0, 0))
        was = None if before is None else before.get(key, Decimal())
        low, high = wilson(bad, requested, z_of(LEVEL))
        found.append(
            CellCost(
                *key,
                float(krw),
                _share(krw, total),
                None if was is None else float(was),
                _change(krw, was),
                requested,
                bad,
                _rate(bad, requested),
                low,
                high,
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.cost, one.command_type, one.carrier, one.firmware)))


def _rates(cells: Sequence[CommandCell], before: Sequence[CommandCell] | None) -> tuple[TypeRate, ...]:
    now, then = _by_type(cells), {} if before is None else _by_type(before)
    found = []
    for name, (bad, of) in now.items():
        if of:
            low, high = wilson(bad, of, z_of(LEVEL))
            found.append(TypeRate(name, of, bad, bad / of, low, high, _rate(*then.get(name, (0, 0)))))
    return tuple(sorted(found, key=lambda one: (-one.rate, one.command_type)))


def _by_type(cells: Sequence[CommandCell]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for one in cells:
        bad, of = found.get(one.command_type, (0, 0))
        found[one.command_type] = bad + one.unsuccessful, of + one.requested
    return found


def _counts(cells: Sequence[CommandCell]) -> tuple[int, int]:
    return sum(one.unsuccessful for one in cells), sum(one.requested for one in cells)


def _key(one: CommandCell) -> Key:
    return one.command_type, one.carrier, one.firmware, one.vehicle_model


def _rate(bad: int, of: int) -> float | None:
    return bad / of if of else None


def _share(part: Decimal, total: Decimal) -> float:
    return float(part / total) if total else 0.0


def _change(now: Decimal, before: Decimal | None) -> float | None:
    return float(now / before - 1) if before else None
