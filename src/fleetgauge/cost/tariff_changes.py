"""Which prices changed, for which days, and how much the cost of the commands moved by it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

from fleetgauge.cost.bill import VIEW, stored_tariffs
from fleetgauge.cost.sim_steps import store_steps
from fleetgauge.cost.tariff import Tariff, apply_tariffs, load_tariffs
from fleetgauge.postgres import Connection, Jsonb, only_row

Costs = dict[date, tuple[Decimal, int]]
"""By local day what was priced, and how many messages were not."""

# A part of a month is rounded and pooled with the others, so a price moves days of its whole months.
_DAYS = f"""
SELECT d.date, coalesce(sum(d.cost), 0), coalesce(sum(d.unpriced_messages), 0)::bigint FROM {VIEW} AS d
WHERE d.carrier = %(carrier)s AND d.window_start > %(begin)s::timestamptz - interval '32 days'
AND d.window_start < coalesce(%(end)s::timestamptz + interval '32 days', 'infinity') GROUP BY d.date ORDER BY d.date
"""  # noqa: S608
_LOG = """
INSERT INTO fleetgauge.tariff_change (carrier, price_class, currency, valid_from, valid_to, before, after, first_day,
    last_day, days, cost_before, cost_after, unpriced_before, unpriced_after, run_id)
VALUES (%s, %s, %s, %s, coalesce(%s::timestamptz, 'infinity'), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
# As `metrics.restatement` tells whatever changed after it was final: the view is `carrier` and `cost_day`.
_RESTATED = f"""
INSERT INTO fleetgauge.restatement (metric, version, level, grain, window_start, dimensions, measure, before, after,
    change, reason, run_id)
SELECT 'carrier', 'tariff', 'cost_day', 'day', d.window_start, jsonb_build_object('carrier', %(carrier)s::text),
    m.measure, m.before::text, m.after::text, m.after - m.before, 'tariff', %(run_id)s::bigint
FROM unnest(%(dates)s::date[], %(before)s::numeric[], %(after)s::numeric[], %(unpriced_before)s::numeric[],
    %(unpriced_after)s::numeric[]) AS c(date, before, after, unpriced_before, unpriced_after)
JOIN (SELECT date, min(window_start) AS window_start FROM {VIEW} AS v WHERE carrier = %(carrier)s
    AND date = ANY(%(dates)s::date[]) GROUP BY date
    HAVING NOT bool_or(coalesce((to_jsonb(v) ->> 'provisional')::boolean, false))) AS d USING (date)
CROSS JOIN LATERAL (VALUES ('cost', c.before, c.after),
    ('unpriced_messages', c.unpriced_before, c.unpriced_after)) AS m(measure, before, after)
WHERE m.before IS DISTINCT FROM m.after
"""  # noqa: S608


@dataclass(frozen=True)
class Prices:
    """What decides a cost."""

    currency: str
    rounding: str
    overhead_bytes: int
    step_bytes: int
    price: Decimal
    base_fee: Decimal
    allowance_bytes: int
    sims: int | None

    @classmethod
    def of(cls, tariff: Tariff) -> "Prices":
        """Those of an entry."""
        return cls(**{one.name: getattr(tariff, one.name) for one in fields(cls)})

    def __str__(self) -> str:
        of = {"message": "message", "sim_day": "SIM and day", "sim_month": "SIM and month"}[self.rounding]
        said = f"{_shown(self.price)} {self.currency} a step of {self.step_bytes} bytes by {of}, "
        said += f"{self.overhead_bytes} more bytes a message"
        if self.allowance_bytes:
            said += f", {self.allowance_bytes} bytes a SIM and month included"
        if self.base_fee:
            said += f", {_shown(self.base_fee)} {self.currency} a SIM and month"
        return said if self.sims is None else f"{said}, {self.sims} SIMs"


@dataclass(frozen=True)
class PriceChange:
    """A carrier's prices from `begin` on, until `end` (UTC; None: for ever), are other ones than before."""

    carrier: str
    price_class: str
    begin: datetime
    end: datetime | None
    before: Prices | None
    """None: there was no tariff."""
    after: Prices | None

    @property
    def label(self) -> str:
        """The carrier as the metrics say it."""
        return f"{self.carrier}/{self.price_class}" if self.price_class else self.carrier

    @property
    def currency(self) -> str:
        """Of the costs that it moves."""
        return next(one.currency for one in (self.after, self.before) if one is not None)


@dataclass(frozen=True)
class MovedDay:
    """A local day of the cost view whose cost moved. Costs are of what has a price; the rest is counted."""

    date: date
    before: Decimal
    after: Decimal
    unpriced_before: int
    unpriced_after: int


@dataclass(frozen=True)
class Restatement:
    """A price change, and what moved by it. `days` is empty when no message falls into it."""

    change: PriceChange
    days: tuple[MovedDay, ...] = ()

    @property
    def before(self) -> Decimal:
        """Cost of the days that moved, before."""
        return sum((day.before for day in self.days), Decimal(0))

    @property
    def after(self) -> Decimal:
        """And now."""
        return sum((day.after for day in self.days), Decimal(0))


@dataclass(frozen=True)
class MovedMonth:
    """What a carrier's days of a local month cost that moved, before and after."""

    carrier: str
    month: date
    """Its first day."""
    currency: str
    days: int
    before: Decimal
    after: Decimal
    unpriced_before: int
    unpriced_after: int

    @property
    def difference(self) -> Decimal:
        """After less before."""
        return self.after - self.before


def by_month(found: Iterable[Restatement]) -> list[MovedMonth]:
    """The differences of all restatements, by carrier and month. Pure."""
    groups: dict[tuple[str, date, str], list[MovedDay]] = {}
    for one in found:
        for day in one.days:
            groups.setdefault((one.change.label, day.date.replace(day=1), one.change.currency), []).append(day)
    return [
        MovedMonth(
            *key,
            len(days),
            sum((day.before for day in days), Decimal(0)),
            sum((day.after for day in days), Decimal(0)),
            sum(day.unpriced_before for day in days),
            sum(day.unpriced_after for day in days),
        )
        for key, days in sorted(groups.items())
    ]


def restate_tariffs(
    connection: Connection, content_root: Path, run: Callable[[], int | None] = lambda: None
) -> list[Restatement]:
    """`apply_tariffs`, and what moved by it, written down in `fleetgauge.tariff_change`; nothing if no price differs.

    `run` gives the number of the run that does it, and is asked only if there is something to do.

    Inside the caller's transaction, which a dry run takes back. Raises `TariffError` before anything is changed.
    """
    before, after = stored_tariffs(connection), load_tariffs(content_root)
    changes = price_changes(before, after)
    if not changes:
        return []
    then = _costs(connection, changes)
    apply_tariffs(connection, content_root)
    store_steps(connection)
    moved = {carrier: list(_days(then[carrier], now)) for carrier, now in _costs(connection, changes).items()}
    found = [Restatement(one, tuple(days)) for one, days in zip(changes, _assigned(changes, moved), strict=True)]
    _record(connection, found, run())
    return found


def price_changes(before: Iterable[Tariff], after: Iterable[Tariff]) -> list[PriceChange]:
    """Where the prices of two sets of entries differ, by carrier and time; stretches of one price as one. Pure."""
    sides = [list(before), list(after)]
    found: list[PriceChange] = []
    for key in sorted({(one.carrier, one.price_class) for side in sides for one in side}):
        mine = [[one for one in side if (one.carrier, one.price_class) == key] for side in sides]
        cuts = {at for side in mine for one in side for at in (one.valid_from, one.valid_to) if at is not None}
        starts = sorted(cuts)
        for begin, end in zip(starts, [*starts[1:], None], strict=True):
            then, now = (_at(side, begin) for side in mine)
            if then == now:
                continue
            last = found[-1] if found else None
            change = PriceChange(*key, begin, end, then, now)
            if last and (replace(last, begin=begin, end=end), last.end) == (change, begin):
                found[-1] = replace(last, end=end)
            else:
                found.append(change)
    return found


def _costs(connection: Connection, changes: Sequence[PriceChange]) -> dict[str, Costs]:
    """For each carrier what the days that a change may move cost now."""
    found: dict[str, Costs] = {one.label: {} for one in changes}
    if not only_row(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [VIEW]))[0]:
        return found
    for one in changes:
        of = {"carrier": one.label, "begin": one.begin, "end": one.end}
        found[one.label] |= {day: (cost, unpriced) for day, cost, unpriced in connection.execute(_DAYS, of)}
    return found


def _assigned(changes: Sequence[PriceChange], moved: Mapping[str, Sequence[MovedDay]]) -> Iterator[list[MovedDay]]:
    """To each change its days: each day goes to the carrier's last change that began by it, or to the first of all."""
    days: list[list[MovedDay]] = [[] for _ in changes]
    for carrier, found in moved.items():
        mine = [(one.begin, at) for at, one in enumerate(changes) if one.label == carrier]
        for day in found:
            by_its_end = datetime.combine(day.date, time.max, UTC)
            _, at = max((pair for pair in mine if pair[0] <= by_its_end), default=min(mine))
            days[at].append(day)
    yield from days


def _record(connection: Connection, found: Iterable[Restatement], run_id: int | None) -> None:
    """Write them down in `fleetgauge.tariff_change`, and days that were final in `fleetgauge.restatement`."""
    for one in found:
        days = [day.date for day in one.days]
        connection.execute(
            _LOG,
            [
                one.change.carrier,
                one.change.price_class,
                one.change.currency,
                one.change.begin,
                one.change.end,
                _plain(one.change.before),
                _plain(one.change.after),
                min(days, default=None),
                max(days, default=None),
                len(days),
                one.before,
                one.after,
                sum(day.unpriced_before for day in one.days),
                sum(day.unpriced_after for day in one.days),
                run_id,
            ],
        )
        if one.days:
            values = {
                "run_id": run_id,
                "carrier": one.change.label,
                "dates": days,
                "before": [day.before for day in one.days],
                "after": [day.after for day in one.days],
                "unpriced_before": [day.unpriced_before for day in one.days],
                "unpriced_after": [day.unpriced_after for day in one.days],
            }
            connection.execute(_RESTATED, values)


def _at(side: Sequence[Tariff], at: datetime) -> Prices | None:
    return next(
        (Prices.of(one) for one in side if one.valid_from <= at and (one.valid_to is None or at < one.valid_to)), None
    )


def _days(then: Costs, now: Costs) -> Iterator[MovedDay]:
    nothing = (Decimal(0), 0)
    for day in sorted({*then, *now}):
        before, after = then.get(day, nothing), now.get(day, nothing)
        if before != after:
            yield MovedDay(day, before[0], after[0], before[1], after[1])


def _plain(found: Prices | None) -> Jsonb | None:
    if found is None:
        return None
    return Jsonb({name: str(v) if isinstance(v, Decimal) else v for name, v in asdict(found).items()})


def _shown(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
